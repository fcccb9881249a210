"""A payment as a person confirmed it, checked field by field, and as the ledger answers for it."""

import hashlib
import json
import re
import unicodedata
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from schwifty import BIC, IBAN
from schwifty.exceptions import SchwiftyException

from paydesk.iso4217 import DECIMALS

State = Literal["recorded", "sent", "accepted", "rejected", "unknown"]
NONE_SEEN = "none"  # in place of the id of a payment like this one

NAME_LENGTH = 70  # SEPA's Max70Text; ISO 20022 alone would allow 140.
REMITTANCE_LENGTH = 140
AMOUNT_DIGITS = 18  # ISO 20022: totalDigits, before and after the point together.
FLOAT_DIGITS = 15  # What a binary float carries of any decimal without loss.

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NOT_LATIN = re.compile(r"[^A-Za-z0-9/\-?:().,'+ ]")


def quantised(amount: Decimal, currency: str) -> Decimal:
    """`amount` with exactly the decimals that `currency` has.

    Raises ValueError when it has more, or more digits than a payment can carry.
    """
    decimals = DECIMALS[currency]
    fits = amount.adjusted() + 1 + decimals <= AMOUNT_DIGITS
    exact = amount.quantize(Decimal(1).scaleb(-decimals)) if fits else None
    if exact is None or exact != amount:
        raise ValueError(
            f"{amount} does not fit {currency}, which has {decimals} decimals, {AMOUNT_DIGITS} "
            f"digits in all. Send an amount like {120:.{decimals}f}."
        )
    return exact


def _plain(amount: Decimal) -> str:
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _exact_decimal(value: object) -> Decimal:
    """A number or text as a Decimal that says just what the caller wrote."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError('an amount is a number or a text like "120.50".')
    text = value.strip() if isinstance(value, str) else format(Decimal(str(value)), "f")
    if len(text) > 2 * AMOUNT_DIGITS or not _AMOUNT.fullmatch(text):
        raise ValueError(
            f'{text[:40]!r} is not an amount: send a number above 0 or a text like "120.50", '
            "without sign, exponent, spaces or thousands separators."
        )
    amount = Decimal(text)
    if amount <= 0:
        raise ValueError(f"{text} is not above 0; a payment moves at least the smallest unit.")
    return amount


def _exact_float(value: float, currency: str | None) -> None:
    # A JSON number comes as a binary float; past 15 digits it may not be what the caller wrote.
    digits = Decimal(str(value)).adjusted() + 1 + DECIMALS.get(currency or "", 3)
    if digits > FLOAT_DIGITS:
        raise ValueError(
            f"{value!r} has more than {FLOAT_DIGITS} digits, more than a JSON number carries "
            'safely. Send it as text, in quotes: "amount": "12345678901234.50".'
        )


def _latin(text: str) -> str:
    """`text` without outer spaces, in the character set that SEPA and SWIFT banks share."""
    text = text.strip()
    foreign = _NOT_LATIN.search(text)
    if foreign is not None:
        plain = "".join(
            character
            for character in unicodedata.normalize("NFKD", text)
            if not unicodedata.combining(character)
        )
        advice = "" if _NOT_LATIN.search(plain) else f" For example {plain!r}."
        raise ValueError(
            f"{text!r} has {foreign.group()!r}, which the bank does not take; it takes a-z, A-Z, "
            f"0-9, space and / - ? : ( ) . , ' +. Write it with these.{advice}"
        )
    if not text.strip("/-?:().,'+ "):
        raise ValueError(f"{text!r} has no letter or digit; the bank needs at least one.")
    if text.startswith("/") or text.endswith("/") or "//" in text:
        raise ValueError(f"{text!r} begins or ends with / or has //, which the bank does not take.")
    return text


def valid_iban(text: str) -> str:
    """`text` as an IBAN without spaces; raises ValueError when it is none."""
    try:
        return IBAN(text).compact
    except SchwiftyException as error:
        raise ValueError(
            f"{text[:40]!r} is not an IBAN: {error}. Check it digit by digit."
        ) from None


def valid_bic(text: str) -> str:
    """`text` as a BIC of 8 or 11 characters; raises ValueError when it is none."""
    try:
        return BIC(text).compact
    except SchwiftyException as error:
        raise ValueError(
            f"{text[:40]!r} is not a BIC: {error}. It has 8 or 11 letters and digits."
        ) from None


Name = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH), AfterValidator(_latin)]
Remittance = Annotated[
    str, Field(min_length=1, max_length=REMITTANCE_LENGTH), AfterValidator(_latin)
]
Iban = Annotated[str, Field(max_length=42), AfterValidator(valid_iban)]
Bic = Annotated[str, Field(max_length=11), AfterValidator(valid_bic)]


class Payment(BaseModel):
    """What is to be paid: `accountA` is the creditor (who is paid), `accountB` the debtor.

    `amount` is in the currency's own unit (euros, not cents). Raises pydantic.ValidationError with
    the field named.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    creditor: Name = Field(alias="accountA", description="Who is paid.")
    debtor: Name = Field(alias="accountB", description="Who pays.")
    currency: str | None = Field(default=None, description="ISO 4217; absent: the default one.")
    amount: Decimal = Field(description="Above 0; a number, or text for more than 15 digits.")
    creditor_account: Iban | None = Field(default=None, alias="creditorAccount")
    creditor_agent: Bic | None = Field(default=None, alias="creditorAgent")
    debtor_account: Iban | None = Field(default=None, alias="debtorAccount")
    remittance: Remittance | None = Field(default=None, description="What the payee reads.")
    execution_date: date | None = Field(default=None, alias="executionDate")

    @field_validator("currency", mode="after")
    @classmethod
    def _known_currency(cls, currency: str | None) -> str | None:
        if currency is None:
            return None
        # upper() turns some letters of other alphabets into these.
        if not currency.isascii() or currency.upper() not in DECIMALS:
            raise ValueError(
                f"{currency[:10]!r} is not a currency of ISO 4217 that can be paid in. "
                "Send three letters, like EUR."
            )
        return currency.upper()

    @field_validator("execution_date", mode="before")
    @classmethod
    def _a_date_in_words(cls, value: object) -> object:
        # pydantic would take a number for seconds since 1970.
        if (isinstance(value, str) and _DATE.fullmatch(value)) or isinstance(value, date | None):
            return value
        raise ValueError(f"{str(value)[:40]!r} is not a date. Send a text like 2026-03-31.")

    @field_validator("amount", mode="before")
    @classmethod
    def _exact_amount(cls, value: object, info: ValidationInfo) -> Decimal:
        currency = info.data.get("currency")
        amount = _exact_decimal(value)
        if isinstance(value, float):
            _exact_float(value, currency)
        return amount if currency is None else quantised(amount, currency)

    def money(self, default_currency: str) -> tuple[Decimal, str]:
        """The amount in its currency's own decimals, and the currency.

        Raises ValueError when the amount does not fit `default_currency`.
        """
        currency = self.currency or default_currency
        return quantised(self.amount, currency), currency

    def digest(self, *, sandbox: bool) -> str:
        """SHA-256 of what the caller sent, the same however the amount was written.

        No setting and no date goes into it: a repeat is the same payment whatever has changed
        around it. Only a payment at the sandbox is another one: its key must not answer for a
        payment that counts.
        """
        content = {
            name: str(value)
            for name in Payment.model_fields
            if (value := getattr(self, name)) is not None
        } | {"amount": _plain(self.amount), "sandbox": str(sandbox)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class PaymentEvent(BaseModel):
    """One change of a payment: the state it came to, when and why."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    state: State
    detail: str
    request_id: str | None = None
    bank_reference: str | None = None


class PaymentRecord(BaseModel):
    """A payment as the ledger has it; `amount` is text, in the currency's own decimals."""

    model_config = ConfigDict(frozen=True, validate_by_name=True, serialize_by_alias=True)

    payment_id: str
    state: State
    bank_reference: str | None
    bank_status: str | None
    amount: str
    currency: str
    creditor: str = Field(alias="accountA")
    debtor: str = Field(alias="accountB")
    creditor_account: str | None = Field(
        alias="creditorAccount", description="Masked: the last four characters."
    )
    debtor_account: str | None = Field(alias="debtorAccount", description="Masked likewise.")
    sandbox: bool = Field(description="Made at the sandbox bank: no money moved.")
    created_at: datetime
    updated_at: datetime
    bank: dict[str, Any] | None = Field(description="The bank's own answer; not in a list.")
    note: dict[str, Any] | None = Field(
        default=None, description="Why a held payment was let through."
    )
    history: tuple[PaymentEvent, ...] = ()


class PaymentPage(BaseModel):
    """Payments, newest first, without their history; `next_cursor` leads on, or is None."""

    model_config = ConfigDict(frozen=True, serialize_by_alias=True)

    payments: tuple[PaymentRecord, ...]
    next_cursor: str | None
