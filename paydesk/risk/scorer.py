"""Rules and forest together: what is decided about a transaction, one by one or in columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paydesk.risk.forest import Forest
from paydesk.risk.rules import RuleBook
from paydesk.risk.transaction import Level, Transaction


@dataclass(frozen=True, slots=True)
class Verdict:
    """What rules and forest say of one transaction."""

    points: int
    level: Level
    triggered_rules: list[str]
    fraud: bool
    probability: float
    reasons: list[str]


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The same for n transactions: arrays (n,), and which rules hold (n, rules).

    `ruled` is the level by the rules alone, `alone` that by the forest alone.
    """

    points: NDArray[np.int64]
    levels: NDArray[np.int64]
    ruled: NDArray[np.int64]
    alone: NDArray[np.int64]
    triggered: NDArray[np.bool_]
    fraud: NDArray[np.bool_]
    probabilities: NDArray[np.float64]


class Scorer:
    """The one scorer: of a request, a file, a stream and a cluster. Safe to share."""

    def __init__(self, forest: Forest, rules: RuleBook, model: str) -> None:
        self.forest = forest
        self.rules = rules
        self.model = model

    def score(self, tx: Transaction) -> Verdict:
        """The verdict on one transaction."""
        judged = self.rules.judge(tx.__dict__)
        probability = self.forest.probability(tx.amount, tx.hour, tx.category)
        alone = self.forest.thresholds.level(probability)
        level = max(judged.level, alone)
        reasons = [rule.explain(tx.__dict__) for rule in judged.triggered]
        if alone > Level.LOW:
            reasons.append(_forest_reason(probability, alone, judged.level))
        return Verdict(
            points=judged.points,
            level=level,
            triggered_rules=[rule.label for rule in judged.triggered],
            fraud=alone >= Level.HIGH,
            probability=probability,
            reasons=reasons,
        )

    def score_columns(self, columns: Mapping[str, NDArray[Any]]) -> Verdicts:
        """The verdicts on n transactions, given one array (n,) a field, as RuleBook takes them."""
        triggered, points, ruled = self.rules.judge_columns(columns)
        features = self.forest.encoder.columns(
            columns["amount"], columns["hour"], columns["category"].tolist()
        )
        probabilities = self.forest.probabilities(features)
        alone = self.forest.thresholds.levels(probabilities)
        return Verdicts(
            points=points,
            levels=np.maximum(ruled, alone),
            ruled=ruled,
            alone=alone,
            triggered=triggered,
            fraud=alone >= Level.HIGH,
            probabilities=probabilities,
        )

    def explain_columns(
        self, columns: Mapping[str, NDArray[Any]], verdicts: Verdicts
    ) -> tuple[list[list[str]], list[list[str]]]:
        """The triggered rules and the reasons of each of n transactions, as `score` gives them."""
        rules = self.rules.rules
        triggered: list[list[str]] = [[]] * len(verdicts.points)
        reasons = triggered.copy()
        said = verdicts.triggered.any(axis=1) | (verdicts.alone > Level.LOW)
        for n in np.flatnonzero(said).tolist():
            held = [rule for rule, holds in zip(rules, verdicts.triggered[n], strict=True) if holds]
            fields = {name: column[n] for name, column in columns.items()}
            triggered[n] = [rule.label for rule in held]
            reasons[n] = [rule.explain(fields) for rule in held]
            if verdicts.alone[n] > Level.LOW:
                alone, ruled = Level(verdicts.alone[n]), Level(verdicts.ruled[n])
                reason = _forest_reason(float(verdicts.probabilities[n]), alone, ruled)
                reasons[n].append(reason)
        return triggered, reasons


def _forest_reason(probability: float, alone: Level, ruled: Level) -> str:
    said = f"The model gives a fraud probability of {probability:.0%}"
    if alone > ruled:
        return f"{said}, which raises the level from {ruled.name} to {alone.name}."
    return f"{said}."
