"""Trains the fraud forest and publishes it to MLflow: `python training/train_risk.py --help`."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier

from paydesk.errors import PaydeskError
from paydesk.registry.risk_frame import encode, labelled
from paydesk.risk import forest as serving_form
from paydesk.risk.columns import DataError, parse_columns
from paydesk.risk.features import Encoder
from paydesk.risk.forest import TOLERANCE, Forest, Thresholds
from paydesk.risk.rules import SHIPPED, RuleBook
from paydesk.serving_form import ServingFormError
from paydesk.settings import Settings
from paydesk.tracking_store import tracking_uri as default_tracking_uri
from training import evaluation, transactions
from training.evaluation import AlertBudget, Comparison
from training.tracking import Product, Published, publish, ready, signature

TREES = 100
DEPTH = 12
_LEAF = 5
_EXAMPLES = 200
_MOST_CATEGORIES = 64
_TRUSTED = ["sklearn.tree._tree.Tree"]

console = Console(stderr=True)


@dataclass(frozen=True)
class Split:
    """Transactions in four stretches of time; the delay between them is left out.

    Labels of fraud come late: what happened in the delay was not known when the forest would have
    been trained, so nothing of it is learnt from.
    """

    train: pd.DataFrame
    validation: pd.DataFrame
    test: pd.DataFrame


@dataclass(frozen=True)
class Trained:
    """A forest with all that belongs to it."""

    native: RandomForestClassifier
    encoder: Encoder
    thresholds: Thresholds
    comparison: Comparison
    probabilities: NDArray[np.float64]
    points: NDArray[np.int64]


def split_by_time(
    data: pd.DataFrame,
    *,
    delay_days: int,
    validation_days: int,
    test_days: int,
    test_data: pd.DataFrame | None = None,
) -> Split:
    """Train, delay, validation, test, in order of time; `test_data` stands for the last if given.

    Raises DataError when the data has too few days, or a stretch has no fraud.
    """
    day = data["timestamp"].dt.normalize()
    days = int((day.max() - day.min()).days) + 1
    kept_for_test = 0 if test_data is not None else test_days
    needed = 1 + delay_days + validation_days + kept_for_test
    if days < needed:
        message = (
            f"The data spans {days} days ({day.min():%Y-%m-%d} to {day.max():%Y-%m-%d}), but the "
            f"split needs {needed}: lower --delay-days, --validation-days or --test-days."
        )
        raise DataError(message)
    after = day.max() + pd.Timedelta(days=1)
    if test_data is not None and test_data["timestamp"].min() < after + pd.Timedelta(
        days=delay_days
    ):
        message = (
            f"The test data begins {test_data['timestamp'].min():%Y-%m-%d}, but labels up to "
            f"{day.max():%Y-%m-%d} are known only {delay_days} days later: give later --test-data, "
            "or lower --delay-days."
        )
        raise DataError(message)
    test_begin = after - pd.Timedelta(days=kept_for_test)
    validation_begin = test_begin - pd.Timedelta(days=validation_days)
    train_end = validation_begin - pd.Timedelta(days=delay_days)
    split = Split(
        train=data[day < train_end].reset_index(drop=True),
        validation=data[(day >= validation_begin) & (day < test_begin)].reset_index(drop=True),
        test=(data[day >= test_begin] if test_data is None else test_data).reset_index(drop=True),
    )
    for name in ("train", "validation", "test"):
        part: pd.DataFrame = getattr(split, name)
        frauds = int(part["label"].sum()) if len(part) else 0
        if frauds == 0 or frauds == len(part):
            kind = "no fraud" if frauds == 0 else "nothing but fraud"
            message = (
                f"There is {kind} among the {len(part)} {name} transactions "
                f"({_stretch(part)}; the column for label): "
                "give data with both, or other --delay-days, --validation-days, --test-days."
            )
            raise DataError(message)
    return split


def _stretch(part: pd.DataFrame) -> str:
    if part.empty:
        return "no day at all"
    return f"{part['timestamp'].min():%Y-%m-%d} to {part['timestamp'].max():%Y-%m-%d}"


def fit(split: Split, rules: RuleBook, budget: AlertBudget, seed: int) -> Trained:
    """Trains on the train days, chooses thresholds on validation, measures on test."""
    encoder = learn_encoder(split.train)
    native = RandomForestClassifier(
        n_estimators=TREES,
        max_depth=DEPTH,
        min_samples_leaf=_LEAF,
        random_state=seed,
        n_jobs=-1,
    )
    native.fit(encoded_frame(encoder, split.train), split.train["label"].to_numpy())
    # Threads add up the trees in an order of chance, which moves the last bit: predict with one.
    native.set_params(n_jobs=1)
    thresholds = evaluation.choose_thresholds(
        native_probabilities(native, encoder, split.validation), budget
    )
    probabilities = native_probabilities(native, encoder, split.test)
    points = rule_points(rules, split.test)
    comparison = evaluation.compare(
        labelled(split.test),
        probabilities,
        points,
        rule_points(rules, split.train),
        split.train["label"].to_numpy() == 1,
        budget,
    )
    return Trained(native, encoder, thresholds, comparison, probabilities, points)


def learn_encoder(train: pd.DataFrame) -> Encoder:
    """The categories of `train`, the most frequent first 64, with their median genuine amounts."""
    genuine = train[train["label"] == 0]
    overall = max(float(genuine["amount"].median()), 0.01)
    frequent = train["category"].value_counts().index[:_MOST_CATEGORIES]
    categories = tuple(sorted(str(name) for name in frequent))
    medians = genuine.groupby("category")["amount"].median()
    typical = [max(float(medians.get(name, overall)), 0.01) for name in categories]
    return Encoder(categories, (*typical, overall))


def encoded_frame(encoder: Encoder, data: pd.DataFrame) -> pd.DataFrame:
    """The features of a frame of transactions with their names, as the native forest takes them."""
    return pd.DataFrame(encode(encoder, data), columns=encoder.names)


def native_probabilities(
    native: RandomForestClassifier, encoder: Encoder, data: pd.DataFrame
) -> NDArray[np.float64]:
    """P(fraud) (n,) by scikit-learn."""
    said = native.predict_proba(encoded_frame(encoder, data))
    return np.asarray(said[:, 1], dtype=np.float64)


def rule_points(rules: RuleBook, data: pd.DataFrame) -> NDArray[np.int64]:
    """The rules' points (n,)."""
    columns = {
        "amount": data["amount"].to_numpy(np.float64),
        "hour": data["timestamp"].dt.hour.to_numpy(),
        **{
            name: data[name].to_numpy(dtype=object) for name in ("category", "store", "customer_id")
        },
    }
    return rules.judge_columns(columns)[1]


def write_serving_form(trained: Trained, test: pd.DataFrame, folder: Path) -> float:
    """Writes the ONNX form with parity examples; the largest difference on the test rows.

    Raises ServingFormError when it differs from the native forest by more than TOLERANCE.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = convert_sklearn(
        trained.native,
        initial_types=[("features", FloatTensorType([None, len(trained.encoder.names)]))],
        options={id(trained.native): {"zipmap": False}},
        target_opset=17,
    )
    (folder / serving_form.GRAPH).write_bytes(graph.SerializeToString())
    serving_form.describe(folder, trained.encoder, asdict(trained.thresholds))
    served = Forest.load(folder).probabilities(encode(trained.encoder, test))
    difference = float(np.abs(served - trained.probabilities).max())
    if not difference <= TOLERANCE:
        message = (
            f"The serving form differs from the native forest by {difference:.2e} on the test "
            f"rows (at most {TOLERANCE:.0e} is accepted): nothing was logged."
        )
        raise ServingFormError(message)
    rows = np.linspace(0, len(test) - 1, min(_EXAMPLES, len(test))).astype(int)
    examples = [
        {
            "amount": float(test["amount"].iloc[row]),
            "hour": int(test["timestamp"].iloc[row].hour),
            "category": test["category"].iloc[row],
            "probability": float(trained.probabilities[row]),
        }
        for row in rows
    ]
    (folder / serving_form.EXAMPLES).write_text(
        json.dumps({"examples": examples}), encoding="utf-8"
    )
    return difference


def product(
    trained: Trained,
    split: Split,
    source: str,
    params: dict[str, Any],
    folder: Path,
) -> Product:
    """All that goes to MLflow; writes the serving form and the held-out data below `folder`."""
    difference = write_serving_form(trained, split.test, folder / "serving")
    holdout = folder / "holdout.parquet"
    columns = ["timestamp", "amount", "category", "store", "customer_id", "label"]
    split.test[columns].to_parquet(holdout, index=False)
    features = trained.encoder.names
    example = encoded_frame(trained.encoder, split.test.head(5)).astype(np.float64)
    fraud = split.test["label"].to_numpy() == 1
    importances = dict(zip(features, trained.native.feature_importances_.tolist(), strict=True))
    baselines = {
        f"{name}_{metric}": value
        for name, metrics in (
            ("rules", trained.comparison.rules),
            ("majority", trained.comparison.majority),
        )
        for metric, value in metrics.items()
    }
    whole = transactions.concatenate([split.train, split.validation, split.test])
    return Product(
        name="risk",
        run_name="random-forest",
        native=trained.native,
        trusted_types=_TRUSTED,
        signature=signature(features),
        input_example=example,
        serving=folder / "serving",
        holdout=holdout,
        data_source=source,
        data_digest=transactions.digest(whole),
        card=_card(trained, split, source, difference),
        params={
            **params,
            "trees": TREES,
            "depth": DEPTH,
            "min_samples_leaf": _LEAF,
            "features": len(features),
            **{f"threshold_{k}": v for k, v in asdict(trained.thresholds).items()},
        },
        metrics={**trained.comparison.forest, **baselines, "parity_difference": difference},
        plots=evaluation.plots(
            fraud, trained.probabilities, trained.points, trained.thresholds, importances
        ),
        tables={"comparison": trained.comparison.table()},
    )


def _card(trained: Trained, split: Split, source: str, difference: float) -> str:
    table = trained.comparison.table()
    rows = "\n".join(
        f"| {row.metric} | {row.forest:.4f} | {row._2:.4f} | {row.majority:.4f} |"
        for row in table.itertuples(index=False, name="Row")
    )
    stretches = "\n".join(
        f"| {name} | {part['timestamp'].min():%Y-%m-%d} | {part['timestamp'].max():%Y-%m-%d} "
        f"| {len(part):,} | {int(part['label'].sum()):,} |"
        for name, part in (
            ("train", split.train),
            ("validation", split.validation),
            ("test", split.test),
        )
    )
    limits = trained.thresholds
    return f"""# Fraud forest

A RandomForest of {TREES} trees that gives a transaction's probability of being fraud, from its
amount, hour and category. Made to rank transactions for people to look at, beside the bank's rules;
not to decline payments by itself. It knows nothing of a customer's history.

Data: {source}

| stretch | from | to | transactions | fraud |
| --- | --- | --- | --- | --- |
{stretches}

On the test days:

| metric | forest | rules alone | majority |
| --- | --- | --- | --- |
{rows}

It raises the level to MEDIUM from {limits.medium:.4f}, HIGH from {limits.high:.4f}, CRITICAL from
{limits.critical:.4f}; chosen on the validation days from the alert budget.
The serving form (ONNX) differs from it by at most {difference:.1e} on the test rows.

The model takes encoded features: `paydesk.risk.features.Encoder` makes them from
`serving/model.json`.
"""


def load_files(files: Sequence[Path], columns: str) -> pd.DataFrame:
    """The transactions of all `files` in order of time. Raises DataError."""
    known = transactions.REQUIRED + transactions.OPTIONAL
    named = parse_columns(columns, known)
    return transactions.concatenate([transactions.load(path, named) for path in files])


def show(comparison: Comparison, published: Published) -> None:
    """Prints the figures and where they went."""
    table = Table(title="On the test days")
    for heading in ("metric", "forest", "rules alone", "majority"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for row in comparison.table().itertuples(index=False):
        table.add_row(str(row[0]), *(f"{value:.4f}" for value in row[1:]))
    console.print(table)
    console.print(f"Registered risk version {published.version} as @{published.alias}.")


def main(
    data: Annotated[
        list[Path] | None,
        typer.Option(help="CSV or Parquet file of your own; may be repeated. Else: simulated."),
    ] = None,
    test_data: Annotated[
        list[Path] | None, typer.Option(help="Later file(s) to test on, instead of --test-days.")
    ] = None,
    columns: Annotated[
        str,
        typer.Option(
            help="Your columns, NAME=COLUMN with commas between; the names are amount, timestamp, "
            "label, category, customer_id, store."
        ),
    ] = "",
    customers: Annotated[int, typer.Option(min=50, help="Simulated customers.")] = 1_500,
    stores: Annotated[int, typer.Option(min=20, help="Simulated stores.")] = 400,
    days: Annotated[int, typer.Option(min=5, help="Simulated days.")] = 90,
    delay_days: Annotated[int, typer.Option(min=0, help="Days until a label is known.")] = 7,
    validation_days: Annotated[int, typer.Option(min=1, help="Days to choose thresholds.")] = 10,
    test_days: Annotated[int, typer.Option(min=1, help="Days to measure on.")] = 14,
    medium_share: Annotated[float, typer.Option(min=0, max=1)] = 0.02,
    high_share: Annotated[
        float, typer.Option(min=0, max=1, help="The alert budget: share of a day's transactions.")
    ] = 0.005,
    critical_share: Annotated[float, typer.Option(min=0, max=1)] = 0.001,
    seed: Annotated[int, typer.Option(help="The same seed gives the same forest.")] = 7,
    tracking_uri: Annotated[str, typer.Option(help="Empty: the embedded store, mlruns/.")] = "",
) -> None:
    """Train the fraud forest on simulated transactions, or on files of your own.

    python training/train_risk.py --data tx.csv --columns amount=amt,timestamp=time,label=is_fraud
    """
    try:
        if not critical_share <= high_share <= medium_share:
            message = "The shares must be --critical-share <= --high-share <= --medium-share."
            raise DataError(message)
        if test_data and not data:
            message = "--test-data goes with --data: simulated data has test days of its own."
            raise DataError(message)
        with console.status("Reading transactions") as status:
            if data:
                whole = load_files(data, columns)
                source = "files " + ", ".join(path.name for path in [*data, *(test_data or [])])
            else:
                whole = transactions.simulate(
                    customers=customers, stores=stores, days=days, seed=seed
                )
                source = f"simulated: {customers} customers, {stores} stores, {days} days"
            split = split_by_time(
                whole,
                delay_days=delay_days,
                validation_days=validation_days,
                test_days=test_days,
                test_data=load_files(test_data, columns) if test_data else None,
            )
            settings = Settings()
            uri = tracking_uri or default_tracking_uri(settings)
            ready("risk", uri)
            status.update(f"Training {TREES} trees on {len(split.train):,} transactions")
            budget = AlertBudget(medium_share, high_share, critical_share)
            trained = fit(split, RuleBook.read(settings.rules_file or SHIPPED), budget, seed)
            status.update("Logging to MLflow")
            params = {
                "seed": seed,
                "delay_days": delay_days,
                "validation_days": validation_days,
                **{f"share_{name}": value for name, value in asdict(budget).items()},
            }
            with tempfile.TemporaryDirectory() as folder:
                made = product(trained, split, source, params, Path(folder))
                published = publish(made, uri)
        show(trained.comparison, published)
    except PaydeskError as error:
        # The message may quote a path or a cell: no markup.
        console.print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
