"""What a forest is worth on held-out days, beside the rules alone and a majority baseline."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import precision_recall_curve

from paydesk.registry.risk_metrics import Labelled, risk_metrics
from paydesk.risk.forest import Thresholds
from paydesk.risk.transaction import Level


@dataclass(frozen=True)
class AlertBudget:
    """Shares of a day's transactions that may reach each level by the forest alone."""

    medium: float = 0.02
    high: float = 0.005
    critical: float = 0.001


def choose_thresholds(probabilities: NDArray[np.float64], budget: AlertBudget) -> Thresholds:
    """The lowest probabilities at which validation days stay within the budget.

    A threshold is put half-way between two probabilities that occurred, so that rounding (ONNX
    computes in float32) cannot move a transaction over it.
    """
    medium, high, critical = (
        _threshold(probabilities, share) for share in (budget.medium, budget.high, budget.critical)
    )
    return Thresholds(medium=medium, high=high, critical=critical)


def _threshold(probabilities: NDArray[np.float64], share: float) -> float:
    # Values nearer than rounding are one value.
    values, counts = np.unique(np.round(probabilities, 6), return_counts=True)
    at_least = np.cumsum(counts[::-1])[::-1]
    within = np.flatnonzero(at_least <= share * len(probabilities))
    if len(within) == 0:
        # Above what occurred, and at 1 above what can occur: nobody is alarmed.
        return float((values[-1] + 1) / 2) if values[-1] < 1 else math.nextafter(1, 2)
    lowest = int(within[0])
    below = values[lowest - 1] if lowest > 0 else 0.0
    return float((values[lowest] + below) / 2)


@dataclass(frozen=True)
class Comparison:
    """The forest, the rules alone and the majority baseline on the same held-out days."""

    forest: dict[str, float]
    rules: dict[str, float]
    majority: dict[str, float]

    def table(self) -> pd.DataFrame:
        """A row a figure, a column a way of scoring."""
        whole = pd.DataFrame(
            {"forest": self.forest, "rules alone": self.rules, "majority": self.majority}
        )
        return whole.rename_axis("metric").reset_index()


def compare(
    truth: Labelled,
    probabilities: NDArray[np.float64],
    points: NDArray[np.int64],
    train_points: NDArray[np.int64],
    train_fraud: NDArray[np.bool_],
    budget: AlertBudget,
) -> Comparison:
    """The figures of the forest, of the rules' points and of a constant score.

    For the Brier score the points stand for the share of fraud that they had in training, and the
    constant is the share of fraud in training.
    """
    base = float(train_fraud.mean())
    known, place = np.unique(train_points, return_inverse=True)
    shares = np.bincount(place, weights=train_fraud) / np.bincount(place)
    rated = np.array([dict(zip(known, shares, strict=True)).get(p, base) for p in points])
    constant = np.full(len(points), base)
    return Comparison(
        forest=risk_metrics(truth, probabilities, probabilities, budget.high),
        rules=risk_metrics(truth, points.astype(np.float64), rated, budget.high),
        majority=risk_metrics(truth, constant, constant, budget.high),
    )


def plots(
    fraud: NDArray[np.bool_],
    probabilities: NDArray[np.float64],
    points: NDArray[np.int64],
    thresholds: Thresholds,
    importances: dict[str, float],
) -> dict[str, Figure]:
    """The pictures that people look at, by name."""
    return {
        "precision_recall": _precision_recall(fraud, probabilities, points),
        "calibration": _calibration(fraud, probabilities),
        "score_distribution": _distribution(fraud, probabilities, thresholds),
        "feature_importance": _importance(importances),
        "confusion_at_thresholds": _confusion(fraud, probabilities, thresholds),
    }


def _precision_recall(
    fraud: NDArray[np.bool_], probabilities: NDArray[np.float64], points: NDArray[np.int64]
) -> Figure:
    figure = Figure(figsize=(6, 4.5))
    axes = figure.subplots()
    for name, score in (("forest", probabilities), ("rules alone", points)):
        precision, recall, _ = precision_recall_curve(fraud, score)
        axes.plot(recall, precision, label=name, drawstyle="steps-post")
    axes.axhline(fraud.mean(), color="grey", linestyle=":", label="majority")
    axes.set(
        xlabel="Recall (share of fraud found)",
        ylabel="Precision (share of alerts that are fraud)",
        title="Precision and recall on the test days",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    axes.legend()
    return figure


def _calibration(fraud: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> Figure:
    figure = Figure(figsize=(6, 4.5))
    axes = figure.subplots()
    bins = min(10, max(2, len(np.unique(probabilities))))
    observed, said = calibration_curve(fraud, probabilities, n_bins=bins)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="perfect")
    axes.plot(said, observed, marker="o", label="forest")
    axes.set(
        xlabel="Mean probability said",
        ylabel="Share that was fraud",
        title="Calibration on the test days",
    )
    axes.legend()
    return figure


def _distribution(
    fraud: NDArray[np.bool_], probabilities: NDArray[np.float64], thresholds: Thresholds
) -> Figure:
    figure = Figure(figsize=(6, 4.5))
    axes = figure.subplots()
    bins = np.linspace(0, 1, 51).tolist()
    for name, those in (("genuine", ~fraud), ("fraud", fraud)):
        axes.hist(probabilities[those], bins=bins, alpha=0.6, label=f"{name} ({those.sum():,})")
    for name, value in (
        ("MEDIUM", thresholds.medium),
        ("HIGH", thresholds.high),
        ("CRITICAL", thresholds.critical),
    ):
        axes.axvline(value, color="black", linestyle="--", linewidth=0.8)
        axes.text(
            value, 0.98, f" {name}", rotation=90, va="top", transform=axes.get_xaxis_transform()
        )
    axes.set(
        yscale="log",
        xlabel="Fraud probability",
        ylabel="Transactions (log)",
        title="Probabilities on the test days, with the thresholds",
    )
    axes.legend(loc="center")
    return figure


def _importance(importances: dict[str, float]) -> Figure:
    ordered = sorted(importances.items(), key=lambda item: item[1])[-20:]
    figure = Figure(figsize=(6, 0.3 * len(ordered) + 1))
    axes = figure.subplots()
    axes.barh([name for name, _ in ordered], [value for _, value in ordered])
    axes.set(xlabel="Mean decrease in impurity", title="Feature importance")
    return figure


def _confusion(
    fraud: NDArray[np.bool_], probabilities: NDArray[np.float64], thresholds: Thresholds
) -> Figure:
    levels = thresholds.levels(probabilities)
    counts = np.array(
        [[int(((levels == level) & those).sum()) for level in Level] for those in (~fraud, fraud)]
    )
    figure = Figure(figsize=(6, 3))
    axes = figure.subplots()
    axes.imshow(np.log1p(counts), cmap="Blues", aspect="auto")
    for row in range(2):
        for level in Level:
            axes.text(
                level,
                row,
                f"{counts[row, level]:,}",
                ha="center",
                va="center",
                bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none"},
            )
    axes.set_xticks(range(4), [level.name for level in Level])
    axes.set_yticks(range(2), ["genuine", "fraud"])
    axes.set_title("What the forest's thresholds make of the test days")
    return figure
