"""Rows of the ledger as the records that are answered with."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Row

from paydesk.payments.payment import PaymentEvent, PaymentRecord

ANSWER_LIMIT = 1 << 16
_SECOND_US = 1_000_000
_SHOWN = 4


def record(row: Row[Any], history: tuple[PaymentEvent, ...] = ()) -> PaymentRecord:
    """A payment; `row` may lack the bank's answer, as those of a list do."""
    debtor_account, creditor_account = _accounts(row.instruction)
    answer = getattr(row, "bank_answer", None)
    return PaymentRecord(
        payment_id=row.payment_id,
        state=row.state,
        bank_reference=row.bank_reference,
        bank_status=row.bank_status,
        amount=row.amount,
        currency=row.currency,
        creditor=row.creditor,
        debtor=row.debtor,
        creditor_account=creditor_account,
        debtor_account=debtor_account,
        sandbox=row.sandbox,
        created_at=time_of(row.created_at_us),
        updated_at=time_of(row.updated_at_us),
        bank=None if answer is None else json.loads(answer),
        note=None if row.note is None else json.loads(row.note),
        history=history,
    )


def event(row: Row[Any]) -> PaymentEvent:
    """One change of a payment."""
    return PaymentEvent(
        at=time_of(row.at_us),
        state=row.state,
        detail=row.detail,
        request_id=row.request_id,
        bank_reference=row.bank_reference,
    )


def kept(answer: dict[str, Any]) -> str:
    """The bank's answer as it is stored; a longer one is not, so that no bank fills the disk."""
    text = json.dumps(answer)
    if len(text) <= ANSWER_LIMIT:
        return text
    return json.dumps({"omitted": f"{len(text)} characters; {ANSWER_LIMIT} are kept at most"})


def time_of(at_us: int) -> datetime:
    """Microseconds since 1970 as a time."""
    return datetime.fromtimestamp(at_us / _SECOND_US, UTC)


def _accounts(instruction: str) -> tuple[str | None, str | None]:
    body = orjson.loads(instruction)
    debtor, creditor = body.get("debtorAccountId"), body.get("creditorAccountId")
    return debtor and masked(debtor), creditor and masked(creditor)


def masked(account: dict[str, str]) -> str:
    """An account of an instruction: enough to tell one's own apart, too little to pay with."""
    return f"****{account['identification'][-_SHOWN:]}"
