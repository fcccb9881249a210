"""The golden cases: three transactions whose decision every version must give."""

from dataclasses import dataclass

from paydesk.risk.scorer import Scorer
from paydesk.risk.transaction import Level, Transaction


@dataclass(frozen=True)
class GoldenCase:
    """A transaction and the decision that it must get."""

    transaction: Transaction
    level: Level
    points: int
    triggered_rules: tuple[str, ...]


GOLDEN_CASES = (
    GoldenCase(Transaction(tx_id="TX001", amount=50.0, category="food", hour=14), Level.LOW, 0, ()),
    GoldenCase(
        Transaction(tx_id="TX002", amount=1800.0, category="electronics", hour=10),
        Level.MEDIUM,
        2,
        ("R2: electronics > 1500",),
    ),
    GoldenCase(
        Transaction(tx_id="TX003", amount=4500.0, category="electronics", hour=3),
        Level.CRITICAL,
        7,
        ("R1: amount > 3000", "R2: electronics > 1500", "R3: night hour"),
    ),
)


def failures(scorer: Scorer) -> list[str]:
    """What `scorer` gets wrong, a sentence a case; empty when all is well.

    A forest that never saw a case's category knows nothing of it, so it may raise that case's
    level; the rules' part must be right all the same.
    """
    found = []
    for case in GOLDEN_CASES:
        tx = case.transaction
        got = scorer.score(tx)
        level_right = got.level == case.level or (
            not scorer.forest.encoder.knows(tx.category) and got.level > case.level
        )
        if (
            not level_right
            or got.points != case.points
            or tuple(got.triggered_rules) != case.triggered_rules
        ):
            found.append(
                f"{tx.tx_id} must be {case.level.name} with {case.points} points "
                f"{list(case.triggered_rules)}, but is {got.level.name} with {got.points} points "
                f"{got.triggered_rules} (probability {got.probability:.3f})"
            )
    return found
