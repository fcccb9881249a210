"""A score beside the payment: a risky one is held until a person says why it may go."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row

from paydesk.errors import PaydeskError
from paydesk.payments.payment import Payment
from paydesk.risk.transaction import Decision, Level, Transaction
from paydesk.settings import BankSettings


class Override(BaseModel):
    """A person's word that a held payment may go."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision_id: str = Field(min_length=1, max_length=36, description="Of the answer that held it.")
    reason: str = Field(min_length=3, max_length=500, pattern=r"\S")


class PaymentOrder(Payment):
    """A payment as it is sent to /payment."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "accountA": "Northwind Traders Ltd",
                "accountB": "Contoso GmbH",
                "amount": "1250.00",
                "currency": "EUR",
            }
        }
    )

    override: Override | None = None


class PaymentHeldError(PaydeskError):
    """The payment is too risky to go without a person's word; `decision` says why."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(
            f"The payment is held: its risk is {decision.risk_level}. {' '.join(decision.reasons)} "
            "No money moved. If it is meant, send it again with "
            f'"override": {{"decision_id": "{decision.decision_id}", "reason": "…"}}.'
        )


class OverrideInvalidError(PaydeskError):
    """The override does not name a decision about this very payment."""

    def __init__(self, decision_id: str) -> None:
        super().__init__(
            f"override.decision_id: {decision_id!r} is not a decision about this payment. Send the "
            "payment without override, and take the decision_id of the answer that holds it."
        )


def subject(payment: Payment, bank: BankSettings) -> str:
    """The tx_id under which a payment is scored: the same for the same payment."""
    return f"payment:{payment.digest(bank.default_currency, sandbox=bank.sandbox)[:32]}"


def as_transaction(payment: Payment, bank: BankSettings, now: datetime) -> Transaction:
    """What the scorer is asked about a payment; `now` in local time.

    Names and accounts stay in the ledger: the decision log gets none of them.
    """
    amount, _ = payment.money(bank.default_currency)
    return Transaction(
        tx_id=subject(payment, bank),
        amount=float(amount),
        category="transfer",
        hour=now.hour,
    )


def confirmed(order: PaymentOrder, decision: Row[Any] | None, bank: BankSettings) -> None:
    """Raises OverrideInvalidError unless `decision` is one about this payment."""
    if order.override is None:
        return
    if decision is None or decision.tx_id != subject(order, bank):
        raise OverrideInvalidError(order.override.decision_id)


def note(order: PaymentOrder, level: Level) -> dict[str, Any] | None:
    """What the ledger keeps of a held payment that a person let through."""
    if order.override is None:
        return None
    return {"override": order.override.model_dump(), "risk_level": level.name}
