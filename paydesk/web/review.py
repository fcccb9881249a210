"""What /payment would make of a form: checked and scored as there; nothing written or sent."""

from datetime import UTC, date, datetime
from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from paydesk.payments.errors import BankNotConfiguredError
from paydesk.payments.instruction import instruction, missing_settings
from paydesk.payments.payment import Payment, PaymentRecord
from paydesk.payments.rows import masked
from paydesk.risk.scorer import Scorer
from paydesk.risk.transaction import Level
from paydesk.settings import Settings
from paydesk.storage.identifiers import new_id
from paydesk.web.answers import LevelName
from paydesk.web.holding import as_transaction


class PaymentForm(Payment):
    """A payment as a person has filled it in, before it is confirmed."""

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


class Review(BaseModel):
    """What would be sent, and how risky it looks at this moment."""

    amount: str
    currency: str
    accountA: str  # noqa: N815 (the form's own name)
    accountB: str  # noqa: N815
    creditorAccount: str = Field(description="Masked: the last four characters.")  # noqa: N815
    debtorAccount: str = Field(description="Masked likewise.")  # noqa: N815
    remittance: str | None
    executionDate: date  # noqa: N815
    sandbox: bool = Field(description="It would go to the sandbox bank: no money would move.")
    score: int
    risk_level: LevelName
    triggered_rules: list[str]
    reasons: list[str]
    fraud_probability: float
    model: str
    held: bool = Field(description="/payment would hold it until a person says why it may go.")
    alike: PaymentRecord | None = Field(
        description="An earlier payment of the same payee, payer, amount and currency, which may "
        "be this one over again: where it is not, /payment is told so with `beside`."
    )


def review(
    form: PaymentForm, scorer: Scorer, settings: Settings, alike: PaymentRecord | None
) -> Review:
    """The review of a form, beside a payment like it where there is one.

    Raises BankNotConfiguredError, PaymentInvalidError.
    """
    bank = settings.bank
    if missing := missing_settings(bank):
        raise BankNotConfiguredError(missing)
    body: dict[str, Any] = orjson.loads(instruction(form, bank, new_id(), datetime.now(UTC)))
    amount, currency = form.money(bank.default_currency)
    verdict = scorer.score(as_transaction(form, bank, datetime.now().astimezone()))
    floor = settings.hold_payments_from
    return Review(
        amount=f"{amount:f}",
        currency=currency,
        accountA=form.creditor,
        accountB=form.debtor,
        creditorAccount=masked(body["creditorAccountId"]),
        debtorAccount=masked(body["debtorAccountId"]),
        remittance=form.remittance,
        executionDate=body["requestedExecutionDate"],
        sandbox=bank.sandbox,
        score=verdict.points,
        risk_level=verdict.level.name,
        triggered_rules=verdict.triggered_rules,
        reasons=verdict.reasons,
        fraud_probability=verdict.probability,
        model=scorer.model,
        held=floor != "NEVER" and verdict.level >= Level[floor],
        alike=alike,
    )
