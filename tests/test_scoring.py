"""Rules, features and forest decide alike: one by one, in columns, in training, when served."""

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import Trained
from hypothesis import given
from hypothesis import strategies as st

from paydesk.risk.features import Encoder
from paydesk.risk.forest import Forest, Thresholds, verify
from paydesk.risk.golden import GOLDEN_CASES, failures
from paydesk.risk.rules import RuleBook, RulesError
from paydesk.risk.scorer import Scorer
from paydesk.risk.transaction import Level, Transaction
from paydesk.serving_form import ServingFormError
from paydesk.tracking_store import open_store
from training.transactions import simulate

amounts = st.floats(0, 10_000, allow_nan=False) | st.sampled_from(
    [1500.0, 1500.01, 3000.0, 3000.01]
)
hours = st.integers(0, 23)
categories = st.sampled_from(["electronics", "food", "Electronics", "", None])


@pytest.mark.parametrize(
    ("body", "level", "points", "rules"),
    [
        ({"tx_id": "TX001", "amount": 50.0, "category": "food", "hour": 14}, "LOW", 0, []),
        (
            {"tx_id": "TX002", "amount": 1800.0, "category": "electronics", "hour": 10},
            "MEDIUM",
            2,
            ["R2: electronics > 1500"],
        ),
        (
            {"tx_id": "TX003", "amount": 4500.0, "category": "electronics", "hour": 3},
            "CRITICAL",
            7,
            ["R1: amount > 3000", "R2: electronics > 1500", "R3: night hour"],
        ),
    ],
)
def test_golden_transactions_over_http(
    client: httpx.Client, body: dict[str, object], level: str, points: int, rules: list[str]
) -> None:
    answer = client.post("/score", json=body)
    assert answer.status_code == 200
    decision = answer.json()
    assert decision["tx_id"] == body["tx_id"]
    assert decision["risk_level"] == level
    assert decision["score"] == points
    assert decision["triggered_rules"] == rules
    assert 0 <= decision["fraud_probability"] <= 1


@pytest.mark.parametrize(
    ("amount", "category", "hour", "points", "level"),
    [
        (3000.0, "food", 12, 0, Level.LOW),
        (3000.01, "food", 12, 3, Level.HIGH),
        (1500.0, "electronics", 12, 0, Level.LOW),
        (1500.01, "electronics", 12, 2, Level.MEDIUM),
        (1500.01, "Electronics", 12, 0, Level.LOW),
        (10.0, None, 5, 2, Level.MEDIUM),
        (10.0, None, 6, 0, Level.LOW),
        (3000.01, "food", 0, 5, Level.CRITICAL),
    ],
)
def test_points_at_the_edges_of_the_rules(
    amount: float, category: str | None, hour: int, points: int, level: Level
) -> None:
    tx = Transaction(amount=amount, category=category, hour=hour)
    judged = RuleBook.read().judge(tx.__dict__)
    assert (judged.points, judged.level) == (points, level)


@given(st.lists(st.tuples(amounts, hours, categories), min_size=1, max_size=20))
def test_rules_judge_columns_as_they_judge_one(rows: list[tuple[float, int, str | None]]) -> None:
    book = RuleBook.read()
    columns = {
        "amount": np.array([row[0] for row in rows]),
        "hour": np.array([row[1] for row in rows]),
        "category": np.array([row[2] for row in rows], dtype=object),
        "store": np.full(len(rows), None),
        "customer_id": np.full(len(rows), None),
    }
    held, points, levels = book.judge_columns(columns)
    for n, (amount, hour, category) in enumerate(rows):
        one = book.judge(Transaction(amount=amount, hour=hour, category=category).__dict__)
        assert points[n] == one.points
        assert levels[n] == one.level
        assert [rule for rule, yes in zip(book.rules, held[n], strict=True) if yes] == one.triggered


@given(st.lists(st.tuples(amounts, hours, categories), min_size=1, max_size=20))
def test_features_of_columns_are_those_of_rows(rows: list[tuple[float, int, str | None]]) -> None:
    encoder = Encoder(("electronics", "food"), (700.0, 45.0, 90.0))
    columns = encoder.columns(
        np.array([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        [row[2] for row in rows],
    )
    assert columns.dtype == np.float32
    for n, (amount, hour, category) in enumerate(rows):
        assert np.array_equal(encoder.row(amount, hour, category)[0], columns[n])


def test_features_by_hand() -> None:
    encoder = Encoder(("electronics", "food"), (700.0, 45.0, 90.0))
    assert encoder.names == [
        *("amount", "amount_to_typical", "hour"),
        *("category=electronics", "category=food"),
    ]
    assert encoder.row(90.0, 3, "food").tolist() == [[90.0, 2.0, 3.0, 0.0, 1.0]]
    assert encoder.row(90.0, 3, "toys").tolist() == [[90.0, 1.0, 3.0, 0.0, 0.0]]


def as_sent(data: pd.DataFrame) -> list[dict[Hashable, Any]]:
    """The rows as a client sends them: times are texts."""
    texts = data["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    return data.assign(timestamp=texts).to_dict("records")


def test_served_scores_equal_scikit_learns_own_on_10_000_rows(trained: Trained) -> None:
    open_store(trained.tracking_uri)
    native = mlflow.sklearn.load_model("models:/risk@champion")
    forest = Forest.load(trained.model("risk"))
    scorer = Scorer(forest, RuleBook.read(), "risk:1")
    # Another seed than training's: rows that the forest never saw.
    data = simulate(customers=200, stores=100, days=40, seed=99).head(10_000)
    assert len(data) == 10_000
    features = forest.encoder.columns(
        data["amount"].to_numpy(), data["timestamp"].dt.hour.to_numpy(), data["category"].tolist()
    )
    own = native.predict_proba(pd.DataFrame(features, columns=forest.encoder.names))
    rows = as_sent(data[["amount", "category", "timestamp"]])
    served = [scorer.score(Transaction.model_validate(row)).probability for row in rows]
    assert np.abs(np.array(served) - own[:, 1]).max() <= 1e-6


def test_score_columns_gives_the_verdicts_of_score(trained: Trained) -> None:
    scorer = Scorer(Forest.load(trained.model("risk")), RuleBook.read(), "risk:1")
    data = simulate(customers=60, stores=30, days=20, seed=5).head(500)
    verdicts = scorer.score_columns(
        {
            "amount": data["amount"].to_numpy(),
            "hour": data["timestamp"].dt.hour.to_numpy(),
            **{
                name: data[name].to_numpy(dtype=object)
                for name in ("category", "store", "customer_id")
            },
        }
    )
    fields = ["amount", "category", "timestamp", "store", "customer_id"]
    for n, row in enumerate(as_sent(data[fields])):
        one = scorer.score(Transaction.model_validate(row))
        assert verdicts.levels[n] == one.level
        assert verdicts.points[n] == one.points
        assert verdicts.fraud[n] == one.fraud
        assert verdicts.probabilities[n] == pytest.approx(one.probability, abs=1e-6)


def test_the_forest_raises_a_level_and_never_lowers_it(trained: Trained) -> None:
    forest = Forest.load(trained.model("risk"))
    tx = Transaction(amount=50.0, category="food", hour=14)
    night = Transaction(amount=10.0, category="food", hour=2)
    eager = Scorer(forest, RuleBook.read(), "x")
    eager.forest.thresholds = Thresholds(medium=0.0, high=0.0, critical=0.0)
    assert eager.score(tx).level is Level.CRITICAL
    assert eager.score(tx).points == 0
    assert eager.score(tx).fraud
    assert "raises the level from LOW to CRITICAL" in eager.score(tx).reasons[-1]
    eager.forest.thresholds = Thresholds(medium=1.1, high=1.1, critical=1.1)
    assert eager.score(night).level is Level.MEDIUM
    assert not eager.score(night).fraud


def test_more_money_at_night_in_electronics_is_never_less_suspicious_than_lunch(
    trained: Trained,
) -> None:
    scorer = Scorer(Forest.load(trained.model("risk")), RuleBook.read(), "x")
    lunch = scorer.score(Transaction(amount=45.0, category="food", hour=13))
    for amount in (1_000.0, 2_000.0, 4_000.0):
        night = scorer.score(Transaction(amount=amount, category="electronics", hour=2))
        assert night.probability > lunch.probability


def test_golden_cases_hold_and_a_wrong_scorer_is_named(trained: Trained, tmp_path: Path) -> None:
    forest = Forest.load(trained.model("risk"))
    assert failures(Scorer(forest, RuleBook.read(), "x")) == []
    rules = tmp_path / "rules.toml"
    shipped = (Path(__file__).parent.parent / "paydesk/risk/rules.toml").read_text("utf-8")
    rules.write_text(shipped.replace("points = 3", "points = 1"), "utf-8")
    wrong = failures(Scorer(forest, RuleBook.read(rules), "x"))
    assert len(wrong) == 1
    assert wrong[0].startswith("TX003 must be CRITICAL with 7 points")
    assert len(GOLDEN_CASES) == 3


def test_stored_examples_prove_a_serving_form(trained: Trained, tmp_path: Path) -> None:
    assert verify(trained.model("risk")) == 200
    for path in trained.model("risk").iterdir():
        if path.suffix in {".onnx", ".json"}:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    examples = tmp_path / "examples.json"
    text = examples.read_text("utf-8")
    examples.write_text(text.replace('"hour": 1', '"hour": 2'), "utf-8")
    with pytest.raises(ServingFormError, match="do not serve it, train again"):
        verify(tmp_path)
    (tmp_path / "forest.onnx").write_bytes(b"not a graph")
    with pytest.raises(ServingFormError, match="cannot be loaded"):
        verify(tmp_path)


@pytest.mark.parametrize(
    ("was", "becomes", "said"),
    [
        ('id = "R2"', 'id = "R1"', "has the id R1 twice"),
        ('is = ">", value = 3000', 'is = "~", value = 3000', "line 10: rule.0.when.0.is"),
        ("value = 3000", 'value = "3000"', "amount is compared with a number, not with '3000'"),
        ("points = 3", "points = 0", "rule.0.points"),
        ("points = 3", 'points = "3"', "rule.0.points"),
        ("{hour}", "{minute}", "line 27: rule.2: Value error, reason may have {field} with one of"),
        ("{hour}", "{hour.__class__}", "plain"),
        ("{hour}", "{hour:>9}", "plain"),
        ("{hour}", "{hour", "reason has a brace too many"),
        ("value = 3000", "value = nan", "rule.0.when.0.value"),
        ("HIGH = 3", "HIGH = 6", "0 < MEDIUM < HIGH < CRITICAL"),
        ("[levels]", "[levels", "is not valid TOML"),
        ("text = ", "txt = ", "rule.0.text"),
    ],
)
def test_a_wrong_rules_file_is_refused_with_the_place(
    tmp_path: Path, was: str, becomes: str, said: str
) -> None:
    shipped = (Path(__file__).parent.parent / "paydesk/risk/rules.toml").read_text("utf-8")
    assert was in shipped
    path = tmp_path / "rules.toml"
    path.write_text(shipped.replace(was, becomes, 1), "utf-8")
    with pytest.raises(RulesError) as refused:
        RuleBook.read(path)
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_missing_rules_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="cannot be read: No such file"):
        RuleBook.read(tmp_path / "none.toml")


def test_a_reason_tells_of_an_absent_field(tmp_path: Path) -> None:
    shipped = (Path(__file__).parent.parent / "paydesk/risk/rules.toml").read_text("utf-8")
    path = tmp_path / "rules.toml"
    path.write_text(shipped.replace("at {hour} h.", "in {category}."), "utf-8")
    judged = RuleBook.read(path).judge(Transaction(amount=1, hour=2).__dict__)
    told = [rule.explain(Transaction(amount=1, hour=2).__dict__) for rule in judged.triggered]
    assert told == ["It happened at night, in unknown."]
