"""A payment and the bank's settings into the JSON that the Payment Initiation API takes."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from schwifty import IBAN
from schwifty.exceptions import SchwiftyException

from paydesk.iso4217 import DECIMALS
from paydesk.payments.errors import PaymentInvalidError
from paydesk.payments.identity import is_loopback
from paydesk.payments.payment import Payment, valid_bic, valid_iban
from paydesk.settings import BankSettings

_PREFIX = "PAYDESK_BANK_"


def _present(value: str) -> str:
    if not value:
        raise ValueError("it is empty.")
    return value


def _currency(value: str) -> str:
    if value not in DECIMALS:
        raise ValueError(f"{value!r} is not a currency of ISO 4217.")
    return value


def _up_to(length: int) -> Callable[[str], str]:
    def checked(value: str) -> str:
        if not 1 <= len(value) <= length:
            raise ValueError(f"it has {len(value)} characters, 1 to {length} are allowed.")
        return value

    return checked


# A payment that names only payee, payer and amount needs every one of these.
_NEEDED: dict[str, Callable[[str], str]] = {
    "base_url": _present,
    "client_id": _present,
    "client_secret": _present,
    "initiating_party": _up_to(35),
    "debtor_agent": valid_bic,
    "debtor_account": valid_iban,
    "debtor_account_currency": _currency,
    "creditor_agent": valid_bic,
    "creditor_account": valid_iban,
    "default_currency": _currency,
}


_FARTHEST_DAYS = 366


def missing_settings(bank: BankSettings) -> list[str]:
    """The environment variables without which no payment can be made; empty: all is there.

    One that is set to what cannot be used (an IBAN with a wrong check digit) counts as missing.
    Plain HTTP is for a sandbox on this machine alone: otherwise `base_url` begins with https://.
    """
    missing = [
        _PREFIX + name.upper() for name, check in _NEEDED.items() if not _usable(bank, name, check)
    ]
    plain = bank.sandbox and bank.base_url.startswith("http://") and is_loopback(bank.base_url)
    if bank.base_url and not (plain or bank.base_url.startswith("https://")):
        missing.insert(0, f"{_PREFIX}BASE_URL (must begin with https://)")
    if "@" in bank.base_url:
        # It is shown and logged, and the client's secret has a setting of its own.
        missing.insert(0, f"{_PREFIX}BASE_URL (must have no user and no password in it)")
    if bank.ca_bundle is not None and not bank.ca_bundle.exists():
        missing.append(f"{_PREFIX}CA_BUNDLE (there is no {bank.ca_bundle})")
    return missing


def instruction(payment: Payment, bank: BankSettings, payment_id: str, at: datetime) -> bytes:
    """The body of the initiate call, as JSON; it is kept, and sent again byte for byte.

    `payment_id` becomes the end-to-end identification, `at` the execution date where the payment
    names none. Raises PaymentInvalidError, with the field named.
    """
    try:
        amount, currency = payment.money(bank.default_currency)
    except ValueError as error:
        raise PaymentInvalidError("amount", str(error)) from None
    account, agent = _creditor_account(payment, bank)
    reference = payment_id.replace("-", "")
    body: dict[str, Any] = {
        "initiatingParty": bank.initiating_party,
        "paymentInformationId": reference,
        "paymentMethod": "TRF",
        "requestedExecutionDate": _execution_date(payment, at),
        "paymentIdentification": {
            "instructionIdentification": reference,
            "endToEndIdentification": reference,
        },
        "instructionPriority": bank.instruction_priority,
        "chargeBearer": bank.charge_bearer,
        "instructedAmount": {"amount": _number(amount), "currency": currency},
        "debitorAgent": {"identification": _debtor_agent(payment, bank)},
        "debtorAccountId": {
            "identificationType": "IBAN",
            "identification": payment.debtor_account or valid_iban(bank.debtor_account),
            "name": payment.debtor,
            "currency": bank.debtor_account_currency,
        },
        "creditor": {"name": payment.creditor},
        "creditorAgent": {"identification": agent},
        "creditorAccountId": {"identificationType": "IBAN", "identification": account},
        "remittanceInformationUnstructured": payment.remittance or f"Payment {reference}",
    }
    if bank.creditor_address and account == valid_iban(bank.creditor_account):
        body["creditor"]["postalAddress"] = bank.creditor_address
    if bank.source_id:
        body["sourceId"] = bank.source_id
    return orjson.dumps(body)


def _usable(bank: BankSettings, name: str, check: Callable[[str], str]) -> bool:
    value = getattr(bank, name)
    try:
        check(value if isinstance(value, str) else value.get_secret_value())
    except ValueError:
        return False
    return True


def _number(amount: Decimal) -> orjson.Fragment:
    # The bank wants a JSON number: the Decimal's own text is put there, no float in between.
    return orjson.Fragment(f"{amount:f}".encode())


def _execution_date(payment: Payment, at: datetime) -> str:
    today = at.astimezone(UTC)
    day = payment.execution_date
    # Somewhere on Earth it is still yesterday: the caller's today must not count as past.
    earliest = (today - timedelta(hours=12)).date()
    if day is not None and day < earliest:
        raise PaymentInvalidError(
            "executionDate", f"{day} is past; send {today.date()} or later, or leave it out."
        )
    if day is not None and day > (latest := (today + timedelta(days=_FARTHEST_DAYS)).date()):
        raise PaymentInvalidError(
            "executionDate", f"{day} is too far off; send {latest} or earlier, or leave it out."
        )
    return (day or today.date()).isoformat()


def _creditor_account(payment: Payment, bank: BankSettings) -> tuple[str, str]:
    """The payee's IBAN and its bank's BIC: both from the payment, or both from the settings."""
    account, agent = payment.creditor_account, payment.creditor_agent
    if account is None:
        if agent is not None:
            raise PaymentInvalidError(
                "creditorAccount", f"the bank {agent} is named without an account; send its IBAN."
            )
        return valid_iban(bank.creditor_account), valid_bic(bank.creditor_agent)
    agent = agent or _bank_of(account)
    if agent is None:
        raise PaymentInvalidError(
            "creditorAgent", f"the bank of {account} is not in our register; send its BIC."
        )
    return account, agent


def _debtor_agent(payment: Payment, bank: BankSettings) -> str:
    account = payment.debtor_account
    return (account and _bank_of(account)) or valid_bic(bank.debtor_agent)


def _bank_of(iban: str) -> str | None:
    try:
        bic = IBAN(iban).bic
    except SchwiftyException:
        return None
    return None if bic is None else bic.compact
