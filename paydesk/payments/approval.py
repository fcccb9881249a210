"""A person's word that a held payment may go, as the ledger keeps it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Approval:
    """Lets one new payment through: a decision's id is good for a single one.

    `risk_level` is what the payment was scored when it was let through.
    """

    decision_id: str
    reason: str
    risk_level: str

    def note(self) -> dict[str, Any]:
        """What is shown with the payment."""
        return {
            "override": {"decision_id": self.decision_id, "reason": self.reason},
            "risk_level": self.risk_level,
        }
