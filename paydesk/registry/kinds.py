"""The two kinds of model, and for each how it is proven, measured and compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from paydesk.entities.evaluation import evaluate as evaluate_reader
from paydesk.entities.reader import Reader
from paydesk.entities.reader import verify as verify_reader
from paydesk.registry.risk_metrics import Labelled, risk_metrics
from paydesk.risk import golden
from paydesk.risk.forest import Forest
from paydesk.risk.forest import verify as verify_forest
from paydesk.risk.rules import RuleBook
from paydesk.risk.scorer import Scorer

_BUDGET = 0.005


@dataclass(frozen=True)
class Kind:
    """What the registry has to know of a kind of model; all functions take a serving form.

    `prove` checks the stored examples, and raises ServingFormError. `golden_failures` says what is
    wrong with the golden cases. `measure` gives figures on a file of held-out data; `decisive`
    names the one that a challenger must not lose, by more than `tolerance`.
    """

    name: str
    prove: Callable[[Path], None]
    golden_failures: Callable[[Path], list[str]]
    measure: Callable[[Path, Path], Mapping[str, float]]
    decisive: str
    tolerance: float


def _measure_forest(folder: Path, holdout: Path) -> Mapping[str, float]:
    data = pd.read_parquet(holdout)
    forest = Forest.load(folder)
    features = forest.encoder.columns(
        data["amount"].to_numpy(np.float64),
        data["timestamp"].dt.hour.to_numpy(),
        data["category"].astype(object).where(data["category"].notna(), None).tolist(),
    )
    probabilities = forest.probabilities(features)
    cards = None
    if data["customer_id"].notna().all():
        cards = pd.factorize(data["customer_id"])[0].astype(np.int64)
    days = data["timestamp"].dt.normalize().astype("int64").to_numpy()
    truth = Labelled(data["label"].to_numpy() == 1, days, cards)
    return risk_metrics(truth, probabilities, probabilities, _BUDGET)


def _forest_golden(folder: Path) -> list[str]:
    return golden.failures(Scorer(Forest.load(folder), RuleBook.read(), "proof"))


def _no_golden(_folder: Path) -> list[str]:
    return []


def _measure_reader(folder: Path, holdout: Path) -> Mapping[str, float]:
    return evaluate_reader(Reader.load(folder), holdout)


def _prove_forest(folder: Path) -> None:
    verify_forest(folder)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("risk", _prove_forest, _forest_golden, _measure_forest, "average_precision", 0.005),
        Kind("entities", verify_reader, _no_golden, _measure_reader, "exact_match", 0.005),
    )
}
