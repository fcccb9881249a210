"""A score beside the payment: a risky one is held until a person says why it may go."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import Row

from paydesk.errors import PaydeskError
from paydesk.payments.approval import Approval
from paydesk.payments.errors import OverrideInvalidError
from paydesk.payments.payment import NONE_SEEN, Payment
from paydesk.risk.transaction import (
    LARGEST_AMOUNT,
    PAYMENT_SUBJECT,
    Decision,
    Level,
    Transaction,
)
from paydesk.settings import BankSettings

OVERRIDE_LIFE_S = 3_600
_CONFIRMED = ":confirmed"
_SHORTEST_REASON = 3
_SECOND_US = 1_000_000


class Override(BaseModel):
    """A person's word that a held payment may go.

    It lets one payment through: the one that the decision is about, unchanged, within an hour, and
    as long as its risk is not higher by then.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    decision_id: str = Field(
        max_length=36, pattern=r"^[0-9A-Za-z-]+$", description="Of the answer that held it."
    )
    reason: str = Field(
        min_length=_SHORTEST_REASON,
        max_length=500,
        pattern=r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$",
        description="One line that says why it may go.",
    )

    @field_validator("reason", mode="after")
    @classmethod
    def _in_letters(cls, reason: str) -> str:
        # Some signs take no room on a screen: a reason has to be seen.
        if sum(sign.isalnum() for sign in reason) < _SHORTEST_REASON:
            raise ValueError(f"a reason has at least {_SHORTEST_REASON} letters or digits")
        return reason


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

    override: Override | None = Field(
        default=None, description="For a payment that was held: why it may go all the same."
    )
    beside: str | None = Field(
        default=None,
        pattern=rf"^({NONE_SEEN}|[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})$",
        description="For one that a person has reviewed: the payment_id of its `alike`, or `none` "
        "where that was null. A payment like it that came since then refuses this one (409).",
    )


class PaymentHeldError(PaydeskError):
    """The payment is too risky to go without a person's word; `decision` says why."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        super().__init__(
            f"The payment is held: its risk is {decision.risk_level}. {' '.join(decision.reasons)} "
            "No money moved. If it is meant, send it again with "
            f'"override": {{"decision_id": "{decision.decision_id}", "reason": "…"}}.'
        )


def subject(payment: Payment, bank: BankSettings) -> str:
    """The tx_id under which a payment is scored: the same for the same payment."""
    return f"{PAYMENT_SUBJECT}{payment.digest(sandbox=bank.sandbox)[:32]}"


def as_transaction(
    payment: Payment, bank: BankSettings, now: datetime, *, confirmed: bool = False
) -> Transaction:
    """What the scorer is asked about a payment; `now` in local time.

    `confirmed`: a person's word came with it. That decision gets another tx_id, which no override
    can name: it held nothing, and one word is good for one payment.
    Names and accounts stay in the ledger: the decision log gets none of them. The amount is the
    plain number in the payment's own currency, and one past what the scorer takes is its largest.
    """
    amount, _ = payment.money(bank.default_currency)
    return Transaction(
        tx_id=subject(payment, bank) + (_CONFIRMED if confirmed else ""),
        amount=min(float(amount), LARGEST_AMOUNT),
        category="transfer",
        hour=now.hour,
    )


def let_through(
    order: PaymentOrder,
    decision: Decision,
    named: Row[Any] | None,
    floor: Literal["MEDIUM", "HIGH", "CRITICAL", "NEVER"],
    now_us: int,
) -> Approval | None:
    """By whose word a new payment may go; None: it needs nobody's.

    `decision` is the present one about it, `named` the one that its override names. Raises
    PaymentHeldError where a person has to say why it may go, and OverrideInvalidError.
    """
    present = Level[decision.risk_level]
    held = floor != "NEVER" and present >= Level[floor]
    if order.override is None:
        if held:
            raise PaymentHeldError(decision)
        return None
    decision_id = order.override.decision_id
    if named is None or named.tx_id != decision.tx_id.removesuffix(_CONFIRMED):
        raise OverrideInvalidError(decision_id, "is not a decision about this payment")
    age_s = abs(now_us - named.recorded_at_us) / _SECOND_US
    if age_s > OVERRIDE_LIFE_S:
        raise OverrideInvalidError(decision_id, f"is older than {OVERRIDE_LIFE_S} s")
    if floor != "NEVER" and named.level < Level[floor]:
        raise OverrideInvalidError(decision_id, "did not hold the payment")
    if held and named.level < present:
        # It was agreed to at a lower risk than it has by now.
        raise PaymentHeldError(decision)
    return Approval(decision_id, order.override.reason, present.name)


def remark(order: PaymentOrder) -> str | None:
    """What the history keeps of an override that came with a repeat."""
    if order.override is None:
        return None
    return f"a repeat named decision {order.override.decision_id}: {order.override.reason}"
