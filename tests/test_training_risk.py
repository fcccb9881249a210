"""Training the forest: data in, honest figures out, and one sentence where the data is no good."""

import gzip
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import Trained
from typer import Typer
from typer.testing import CliRunner

from paydesk.registry.risk_metrics import Labelled, risk_metrics
from paydesk.risk.columns import DataError, parse_columns
from paydesk.risk.forest import Thresholds
from paydesk.risk.rules import RuleBook
from paydesk.tracking_store import open_store
from training import train_risk
from training.evaluation import AlertBudget, choose_thresholds
from training.tracking import PublishError, publish
from training.transactions import OPTIONAL, REQUIRED, load, simulate

app = Typer()
app.command()(train_risk.main)


def test_the_simulator_keeps_its_promises() -> None:
    data = simulate(customers=600, stores=200, days=60, seed=3)
    share = data["label"].mean()
    assert 0.005 <= share <= 0.01
    assert set(data["scenario"]) == {
        *("genuine", "night_electronics", "compromised_card", "compromised_store"),
    }
    assert data["timestamp"].is_monotonic_increasing
    assert data["tx_id"].is_unique
    night = data[data["scenario"] == "night_electronics"]
    assert set(night["category"]) == {"electronics"}
    assert night["timestamp"].dt.hour.max() < 6
    assert (data["label"] == (data["scenario"] != "genuine")).all()
    assert data["amount"].between(1, 50_000).all()


def test_the_same_seed_gives_the_same_transactions_and_another_seed_others() -> None:
    first, again, other = (simulate(customers=80, stores=30, days=20, seed=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(first, again)
    assert not first["amount"].equals(other["amount"])


def test_a_split_never_learns_from_what_was_not_yet_known() -> None:
    data = simulate(customers=300, stores=60, days=40, seed=4)
    split = train_risk.split_by_time(data, delay_days=7, validation_days=5, test_days=6)
    day = pd.Timedelta(days=1)
    train_end = split.train["timestamp"].max().normalize()
    assert split.validation["timestamp"].min().normalize() - train_end == 8 * day
    assert (
        split.test["timestamp"].min().normalize()
        == split.validation["timestamp"].max().normalize() + day
    )
    assert len(split.train) + len(split.validation) + len(split.test) < len(data)


def test_training_twice_with_one_seed_gives_the_same_figures() -> None:
    data = simulate(customers=200, stores=60, days=30, seed=4)
    split = train_risk.split_by_time(data, delay_days=3, validation_days=5, test_days=5)
    first, again = (
        train_risk.fit(split, RuleBook.read(), AlertBudget(), seed=11) for _ in range(2)
    )
    assert first.comparison == again.comparison
    assert first.thresholds == again.thresholds
    assert np.array_equal(first.probabilities, again.probabilities)


def test_risk_metrics_by_hand() -> None:
    # Two days of four transactions. Day 0: the fraud has the highest score; day 1: the lowest.
    truth = Labelled(
        fraud=np.array([True, False, False, False, False, False, False, True]),
        day=np.array([0, 0, 0, 0, 1, 1, 1, 1]),
        card=np.array([1, 2, 3, 3, 1, 2, 3, 4]),
    )
    scores = np.array([0.9, 0.8, 0.3, 0.2, 0.7, 0.6, 0.5, 0.1])
    figures = risk_metrics(truth, scores, scores, budget=0.25)
    # Of 12 pairs (2 frauds, 6 genuine) the first fraud wins 6, the second none.
    assert figures["roc_auc"] == pytest.approx(0.5)
    # Precision at the first fraud 1/1, at the second 2/8; each for half of the recall.
    assert figures["average_precision"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 8)
    # One alert a day (25% of four): day 0 finds its fraud, day 1 does not.
    assert figures["recall_at_budget"] == pytest.approx(0.5)
    squares = [0.1, 0.8, 0.3, 0.2, 0.7, 0.6, 0.5, 0.9]
    assert figures["brier"] == pytest.approx(sum(s * s for s in squares) / 8)
    # All cards fit into 100: one of three on day 0, one of four on day 1.
    assert figures["card_precision_at_100"] == pytest.approx((1 / 3 + 1 / 4) / 2)


def test_thresholds_stay_within_the_budget() -> None:
    probabilities = np.linspace(0, 1, 1001)
    chosen = choose_thresholds(probabilities, AlertBudget(medium=0.1, high=0.05, critical=0.01))
    assert 0 < chosen.medium < chosen.high < chosen.critical < 1
    for threshold, share in ((chosen.medium, 0.1), (chosen.high, 0.05), (chosen.critical, 0.01)):
        alerts = (probabilities >= threshold).mean()
        assert share - 0.002 <= alerts <= share


def test_thresholds_of_equal_probabilities_raise_no_alert() -> None:
    chosen = choose_thresholds(np.full(500, 0.25), AlertBudget())
    assert (chosen.levels(np.full(500, 0.25)) == 0).all()
    assert chosen.high > 0.25


def test_levels_of_columns_are_levels_of_one() -> None:
    limits = Thresholds(0.1, 0.5, 0.9)
    values = np.array([0.0, 0.1, 0.49, 0.5, 0.9, 1.0])
    assert limits.levels(values).tolist() == [0, 1, 1, 2, 3, 3]
    assert [int(limits.level(value)) for value in values] == [0, 1, 1, 2, 3, 3]


def test_the_registry_has_all_that_people_look_at(trained: Trained) -> None:
    client = open_store(trained.tracking_uri)
    version = client.get_model_version_by_alias("risk", "champion")
    run_id = str(version.run_id)
    run = client.get_run(run_id)
    metrics = run.data.metrics
    for metric in (
        *("roc_auc", "average_precision", "card_precision_at_100", "recall_at_budget", "brier"),
    ):
        assert {metric, f"rules_{metric}", f"majority_{metric}"} <= metrics.keys()
    assert metrics["parity_difference"] <= 1e-6
    assert metrics["average_precision"] > metrics["rules_average_precision"]
    assert metrics["rules_average_precision"] > metrics["majority_average_precision"]
    assert {"data.source", "data.sha256", "git.commit"} <= run.data.tags.keys()
    assert {"seed", "trees", "threshold_high", "share_high"} <= run.data.params.keys()
    plots = {Path(item.path).stem for item in client.list_artifacts(run_id, "plots")}
    assert plots == {
        *("precision_recall", "calibration", "score_distribution", "feature_importance"),
        "confusion_at_thresholds",
    }
    kept = {item.path for item in client.list_artifacts(run_id)}
    assert {"model_card.md", "serving", "holdout", "plots", "tables"} <= kept


def test_the_native_model_loads_for_anyone_and_has_a_signature(trained: Trained) -> None:
    open_store(trained.tracking_uri)
    native = mlflow.sklearn.load_model("models:/risk@champion")
    assert native.n_estimators == 100
    info = mlflow.models.get_model_info("models:/risk@champion")
    assert {column.type.name for column in info.signature.inputs} == {"double"}
    assert not list(trained.mlruns.rglob("*.pkl"))


ROWS = "time,amt,fraud,kind\n2026-01-01 10:00:00,5.0,0,food\n2026-01-02 11:00:00,9.5,1,toys\n"
KNOWN = REQUIRED + OPTIONAL
COLUMNS = "timestamp=time,amount=amt,label=fraud,category=kind"


def test_a_file_is_loaded_by_its_own_column_names(tmp_path: Path) -> None:
    path = tmp_path / "tx.csv"
    path.write_text(ROWS)
    data = load(path, parse_columns(COLUMNS, KNOWN))
    assert data["amount"].tolist() == [5.0, 9.5]
    assert data["label"].tolist() == [0, 1]
    assert data["category"].tolist() == ["food", "toys"]
    assert data["timestamp"].dt.hour.tolist() == [10, 11]
    assert data["store"].tolist() == [None, None]
    parquet = tmp_path / "tx.parquet"
    pd.read_csv(path).to_parquet(parquet)
    pd.testing.assert_frame_equal(load(parquet, parse_columns(COLUMNS, KNOWN)), data)


@pytest.mark.parametrize(
    ("mend", "columns", "said"),
    [
        (lambda rows: rows.replace("9.5", "nine"), COLUMNS, "column 'amt', row 2 (line 3): 'nine'"),
        (lambda rows: rows.replace("9.5", "-1"), COLUMNS, "column 'amt', row 2 (line 3): '-1'"),
        (lambda rows: rows.replace("9.5", "inf"), COLUMNS, "column 'amt', row 2 (line 3): 'inf'"),
        (lambda rows: rows.replace("9.5", ""), COLUMNS, "row 2 (line 3): nothing is not an amount"),
        (
            lambda rows: rows.replace(",1,", ",yes,"),
            COLUMNS,
            "column 'fraud', row 2 (line 3): 'yes'",
        ),
        (lambda rows: rows.replace(",1,", ",2,"), COLUMNS, "'2' is not a label: 0 or 1"),
        (lambda rows: rows.replace("2026-01-01", "soon"), COLUMNS, "column 'time', row 1 (line 2)"),
        (lambda rows: rows, "amount=amt,timestamp=time", "there is no column 'label' for label"),
        (lambda rows: rows, COLUMNS + ",store=shop", "there is no column 'shop' for store"),
        (lambda rows: rows, "amount", "'amount' is not NAME=COLUMN"),
        (lambda rows: rows, "price=amt", "'price=amt' is not NAME=COLUMN"),
        (lambda rows: rows.splitlines()[0], COLUMNS, "the file has no rows"),
        (lambda rows: rows.replace("kind\n", "amt\n"), COLUMNS, "more than one column 'amt'"),
        (
            lambda rows: rows.replace("food", '"fast\nfood"').replace("9.5", "nine"),
            COLUMNS,
            "row 2 (line 4): 'nine'",
        ),
        (
            lambda rows: "\n" + rows.replace("\n", "\n\n").replace("9.5", "nine"),
            COLUMNS,
            "row 2 (line 6): 'nine'",
        ),
    ],
)
def test_bad_data_names_file_column_and_row(
    tmp_path: Path, mend: Callable[[str], str], columns: str, said: str
) -> None:
    path = tmp_path / "tx.csv"
    path.write_text(mend(ROWS))
    with pytest.raises(DataError) as refused:
        load(path, parse_columns(columns, KNOWN))
    assert said in str(refused.value)
    if not columns.startswith(("amount", "price")) or "no column" in said:
        assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.csv", None, "there is no such file"),
        ("tx.xlsx", b"PK", "Paydesk reads .csv"),
        ("tx.parquet", b"not parquet", "cannot be read as parquet"),
        ("tx.csv", b"\xff\xfe\x00bad", "cannot be read as csv"),
        ("tx.csv", b"", "cannot be read as csv"),
    ],
)
def test_an_unreadable_file_leaves_no_run_and_exit_code_2(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    uri = f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
    done = CliRunner().invoke(app, ["--data", str(path), "--tracking-uri", uri])
    assert done.exit_code == 2
    message = " ".join(done.output.split())
    assert said in message
    assert "Traceback" not in message
    assert not (tmp_path / "mlruns").exists()


def test_data_without_fraud_is_refused_before_anything_is_logged(tmp_path: Path) -> None:
    data = simulate(customers=60, stores=30, days=40, seed=1)
    path = tmp_path / "tx.csv"
    data.assign(label=0).to_csv(path, index=False)
    uri = f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
    done = CliRunner().invoke(app, ["--data", str(path), "--tracking-uri", uri])
    assert done.exit_code == 2
    assert "There is no fraud among the" in " ".join(done.output.split())
    assert not (tmp_path / "mlruns").exists()


def test_too_few_days_say_which_options_to_lower(tmp_path: Path) -> None:
    path = tmp_path / "tx.csv"
    simulate(customers=60, stores=30, days=9, seed=1).to_csv(path, index=False)
    done = CliRunner().invoke(app, ["--data", str(path), "--tracking-uri", "sqlite:///unused.db"])
    assert done.exit_code == 2
    message = " ".join(done.output.split())
    assert "The data spans 9 days" in message
    assert "lower --delay-days, --validation-days or --test-days" in message


def test_local_times_with_offsets_are_taken_as_they_were_on_the_spot(tmp_path: Path) -> None:
    path = tmp_path / "tx.csv"
    path.write_text(
        "timestamp,amount,label\n2026-03-28T23:30:00+01:00,5,0\n2026-03-29 23:30:00+02:00,5,1\n"
    )
    assert load(path, {})["timestamp"].dt.hour.tolist() == [23, 23]


def test_a_truncated_gzip_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "tx.csv.gz"
    path.write_bytes(gzip.compress(ROWS.encode() * 500)[:-20])
    with pytest.raises(DataError, match="cannot be read as gz"):
        load(path, parse_columns(COLUMNS, KNOWN))


def test_test_data_that_is_not_later_is_refused() -> None:
    data = simulate(customers=100, stores=40, days=30, seed=2)
    with pytest.raises(DataError, match="The test data begins 2026-01-05, but labels up to"):
        train_risk.split_by_time(data, delay_days=7, validation_days=5, test_days=1, test_data=data)


def test_a_constant_score_finds_compromised_cards_by_chance_alone() -> None:
    differences = []
    for seed in range(6):
        data = simulate(customers=300, stores=80, days=20, seed=seed)
        truth = Labelled(
            data["label"].to_numpy() == 1,
            data["timestamp"].dt.normalize().astype("int64").to_numpy(),
            pd.factorize(data["customer_id"])[0].astype(np.int64),
        )
        constant = np.full(len(data), 0.5)
        found = risk_metrics(truth, constant, constant, 0.01)["card_precision_at_100"]
        days = data.groupby(data["timestamp"].dt.normalize())
        shares = [day.groupby("customer_id")["label"].max().mean() for _, day in days]
        differences.append(found - float(np.mean(shares)))
    assert abs(np.mean(differences)) < 0.002


def test_a_bad_cell_with_brackets_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "tx.csv"
    path.write_text(ROWS.replace("9.5", "[/b]"))
    uri = f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
    done = CliRunner().invoke(
        app, ["--data", str(path), "--columns", COLUMNS, "--tracking-uri", uri]
    )
    assert done.exit_code == 2
    assert "'[/b]' is not an amount" in " ".join(done.output.split())


def test_a_run_that_cannot_be_finished_is_taken_away(tmp_path: Path) -> None:
    data = simulate(customers=200, stores=60, days=30, seed=4)
    split = train_risk.split_by_time(data, delay_days=3, validation_days=5, test_days=5)
    trained = train_risk.fit(split, RuleBook.read(), AlertBudget(), seed=1)
    made = train_risk.product(trained, split, "test", {}, tmp_path / "work")
    uri = f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"
    made.holdout.unlink()
    with pytest.raises(PublishError, match="nothing of it is kept"):
        publish(made, uri)
    client = open_store(uri)
    experiment = client.get_experiment_by_name("risk")
    assert experiment is not None
    assert client.search_runs([experiment.experiment_id]) == []
    assert mlflow.active_run() is None
