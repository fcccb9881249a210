"""The two kinds of model, and for each how it is proven, measured and compared."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from paydesk.entities.evaluation import evaluate as evaluate_reader
from paydesk.entities.reader import Reader
from paydesk.entities.reader import verify as verify_reader
from paydesk.registry.risk_frame import encode, labelled
from paydesk.registry.risk_metrics import risk_metrics
from paydesk.risk import golden
from paydesk.risk.forest import Forest
from paydesk.risk.forest import verify as verify_forest
from paydesk.risk.rules import RuleBook
from paydesk.risk.scorer import Scorer

_BUDGET = "share_high"  # the parameter of a run that says how many alerts people can look at


@dataclass(frozen=True)
class Kind:
    """What the registry has to know of a kind of model; all functions take a serving form.

    `prove` checks the stored examples, and raises ServingFormError. `golden_failures` says what is
    wrong with the golden cases: with the rules that are shipped, for which they were written.
    `measure` gives figures on a file of held-out data, by the parameters of the run that held it
    out; `decisive` names the one that a challenger must not lose, by more than `tolerance`.
    """

    name: str
    prove: Callable[[Path], None]
    golden_failures: Callable[[Path], list[str]]
    measure: Callable[[Path, Path, Mapping[str, str]], Mapping[str, float]]
    decisive: str
    tolerance: float


def _measure_forest(folder: Path, holdout: Path, params: Mapping[str, str]) -> Mapping[str, float]:
    data = pd.read_parquet(holdout)
    forest = Forest.load(folder)
    probabilities = forest.probabilities(encode(forest.encoder, data))
    return risk_metrics(labelled(data), probabilities, probabilities, float(params[_BUDGET]))


def _forest_golden(folder: Path) -> list[str]:
    return golden.failures(Scorer(Forest.load(folder), RuleBook.read(), "proof"))


def _no_golden(_folder: Path) -> list[str]:
    return []


def _measure_reader(folder: Path, holdout: Path, _params: Mapping[str, str]) -> Mapping[str, float]:
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
