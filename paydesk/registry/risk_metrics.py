"""How good a score is at finding fraud: the figures of training and of promotion."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

CARDS_A_DAY = 100


@dataclass(frozen=True)
class Labelled:
    """n held-out transactions: `fraud` (n,) bool, `day` (n,) int, `card` (n,) int or None."""

    fraud: NDArray[np.bool_]
    day: NDArray[np.int64]
    card: NDArray[np.int64] | None


def risk_metrics(
    truth: Labelled, scores: NDArray[np.float64], probabilities: NDArray[np.float64], budget: float
) -> dict[str, float]:
    """The figures of one score (n,), with its probabilities (n,) for the Brier score.

    `budget` is the share of a day's transactions that people can look at. Equal scores are put in a
    fixed random order, so that a constant score gets what chance gives.

    card_precision_at_100 follows Dal Pozzolo et al., "Learned lessons in credit card fraud
    detection from a practitioner perspective" (2014): of the 100 cards with the highest score of a
    day, the share that had a fraud on that day, averaged over the days.
    """
    order = np.random.default_rng(0).permutation(len(scores))
    shuffled = Labelled(
        truth.fraud[order], truth.day[order], None if truth.card is None else truth.card[order]
    )
    ranked = scores[order]
    metrics = {
        "roc_auc": float(roc_auc_score(truth.fraud, scores)),
        "average_precision": float(average_precision_score(truth.fraud, scores)),
        "recall_at_budget": _recall_at_budget(shuffled, ranked, budget),
        "brier": float(brier_score_loss(truth.fraud, np.clip(probabilities, 0, 1))),
    }
    if shuffled.card is not None:
        metrics["card_precision_at_100"] = _card_precision(
            shuffled.fraud, shuffled.day, shuffled.card, ranked
        )
    return metrics


def _recall_at_budget(truth: Labelled, scores: NDArray[np.float64], budget: float) -> float:
    found = 0
    for day in np.unique(truth.day):
        today = truth.day == day
        alerts = max(1, round(budget * int(today.sum())))
        top = np.argsort(-scores[today], kind="stable")[:alerts]
        found += int(truth.fraud[today][top].sum())
    return found / int(truth.fraud.sum())


def _card_precision(
    fraud: NDArray[np.bool_],
    days: NDArray[np.int64],
    cards: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> float:
    daily = []
    chance = np.random.default_rng(1)
    for day in np.unique(days):
        today = days == day
        seen, card = np.unique(cards[today], return_inverse=True)
        highest = np.full(len(seen), -np.inf)
        np.maximum.at(highest, card, scores[today])
        compromised = np.zeros(len(seen), dtype=bool)
        np.logical_or.at(compromised, card, fraud[today])
        # A card's number may tell of its age or its use: equal scores stand in an order of chance.
        order = chance.permutation(len(seen))
        top = order[np.argsort(-highest[order], kind="stable")[:CARDS_A_DAY]]
        daily.append(float(compromised[top].mean()))
    return float(np.mean(daily))
