"""What may be asked for, and what of it goes to the bank."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pycountry
import pytest
from hypothesis import given
from hypothesis import strategies as st
from payments_bank import a_payment
from pydantic import ValidationError

from paydesk.iso4217 import DECIMALS
from paydesk.payments.errors import PaymentInvalidError
from paydesk.payments.instruction import instruction, missing_settings
from paydesk.payments.payment import Payment
from paydesk.payments.sandbox import sandbox_settings

_NOW = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)
_BANK = sandbox_settings("http://localhost")


def _refused(field: str, **changes: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        a_payment(**changes)
    (error,) = refused.value.errors()
    assert error["loc"] == (field,)
    return error["msg"]


@pytest.mark.parametrize(
    ("json_amount", "currency", "amount"),
    [
        ("100", "EUR", "100.00"),
        ("100.1", "EUR", "100.10"),
        ("0.01", "EUR", "0.01"),
        ("1e3", "EUR", "1000.00"),
        ('"100.10"', "EUR", "100.10"),
        ('"100.1000"', "EUR", "100.10"),
        ('" 5 "', "EUR", "5.00"),
        ("5000", "JPY", "5000"),
        ('"5000.00"', "JPY", "5000"),
        ("1.234", "KWD", "1.234"),
        ("1.5", "kwd", "1.500"),
        ("9999999999999.99", "EUR", "9999999999999.99"),
        ('"9999999999999999.99"', "EUR", "9999999999999999.99"),
        ("9007199254740993", "JPY", "9007199254740993"),
    ],
)
def test_an_amount_is_read_to_the_last_digit(json_amount: str, currency: str, amount: str) -> None:
    body = f'{{"accountA":"A","accountB":"B","amount":{json_amount},"currency":"{currency}"}}'
    payment = Payment.model_validate_json(body)
    assert str(payment.amount) == amount
    sent = instruction(payment, _BANK, "id", _NOW).decode()
    assert f'"instructedAmount":{{"amount":{amount},"currency":"{currency.upper()}"}}' in sent


@pytest.mark.parametrize(
    ("amount", "told"),
    [
        (0, "not above 0"),
        ("0.00", "not above 0"),
        (-1, "not an amount"),
        ("-1", "not an amount"),
        (float("nan"), "not an amount"),
        (float("inf"), "not an amount"),
        (True, "a number or a text"),
        (None, "a number or a text"),
        ([1], "a number or a text"),
        ("", "not an amount"),
        ("1e3", "not an amount"),
        ("1,000.00", "not an amount"),
        ("1 000", "not an amount"),
        ("٣", "not an amount"),
        ("0x10", "not an amount"),
        ("1_000", "not an amount"),
        ("9" * 5_000, "not an amount"),
        ("0.001", "EUR, which has 2 decimals"),
        ("99999999999999999.99", "18 digits in all"),
        (99999999999999.99, "more than a JSON number carries"),
    ],
)
def test_what_is_no_amount_is_refused_with_the_reason(amount: object, told: str) -> None:
    assert told in _refused("amount", amount=amount, currency="EUR")


@pytest.mark.parametrize(("currency", "amount"), [("JPY", "1.5"), ("KWD", "1.2345")])
def test_a_currency_has_its_own_decimals(currency: str, amount: str) -> None:
    assert "does not fit" in _refused("amount", amount=amount, currency=currency)


def test_the_default_currency_has_its_decimals_too() -> None:
    yen = sandbox_settings("http://localhost", default_currency="JPY")
    assert b'"amount":5,"currency":"JPY"' in instruction(a_payment(amount="5.0"), yen, "id", _NOW)
    with pytest.raises(PaymentInvalidError, match=r"amount: 5\.1 does not fit JPY"):
        instruction(a_payment(amount="5.1"), yen, "id", _NOW)


@given(
    st.decimals(min_value="0.01", max_value="9999999999999999.99", places=2),
    st.sampled_from(["EUR", "USD"]),
)
def test_any_amount_reaches_the_wire_as_it_was_written(amount: Decimal, currency: str) -> None:
    sent = instruction(a_payment(amount=f"{amount:f}", currency=currency), _BANK, "id", _NOW)
    on_the_wire = json.loads(sent, parse_float=Decimal)["instructedAmount"]["amount"]
    assert on_the_wire == amount
    assert f'"amount":{amount:f},'.encode() in sent


def test_the_currencies_are_those_of_iso_4217_that_pay() -> None:
    listed = {currency.alpha_3 for currency in pycountry.currencies}
    funds = {"BOV", "CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW"}
    paid_in = {code for code in listed if code[0] != "X"} | {"XAF", "XCD", "XCG", "XOF", "XPF"}
    assert DECIMALS.keys() == paid_in - funds
    assert {code for code, decimals in DECIMALS.items() if decimals == 3} == {
        "BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND",
    }  # fmt: skip
    assert {DECIMALS[code] for code in ("JPY", "KRW", "CLP", "ISK", "VND", "XAF")} == {0}


@pytest.mark.parametrize("currency", ["XXX", "XAU", "EU", "euro", "", "€"])
def test_what_is_no_currency_is_refused(currency: str) -> None:
    assert "Send three letters" in _refused("currency", currency=currency)


@pytest.mark.parametrize("field", ["accountA", "accountB", "remittance"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Müller GmbH", "For example 'Muller GmbH'"),
        ("Łukasz", "has 'Ł', which the bank does not take"),
        ("a_b", "has '_'"),
        ("a\nb", "which the bank does not take"),
        ("<b>", "has '<'"),
        ("...", "no letter or digit"),
        ("/abc", "begins or ends with /"),
        ("a//b", "begins or ends with /"),
        ("", "at least 1 character"),
        ("x" * 141, "at most"),
    ],
)
def test_a_text_that_the_bank_cannot_take_is_refused_with_its_field(
    field: str, text: str, told: str
) -> None:
    assert told in _refused(field, **{field: text})


def test_names_and_texts_as_long_as_the_bank_takes_them_pass() -> None:
    payment = a_payment(accountA="A" * 70, accountB="O'Neil & Sons".replace("&", "+"))
    assert len(payment.creditor) == 70
    assert a_payment(remittance="R" * 140).remittance == "R" * 140
    assert "at most 70" in _refused("accountA", accountA="A" * 71)


@pytest.mark.parametrize("field", ["creditorAccount", "debtorAccount"])
@pytest.mark.parametrize("iban", ["DE88370400440532013000", "DE8937040044053201300", "XX12", ""])
def test_an_iban_is_checked(field: str, iban: str) -> None:
    assert "is not an IBAN" in _refused(field, **{field: iban})


@pytest.mark.parametrize("bic", ["DEUTDEF", "DEUTXXFF", "deut deff!"])
def test_a_bic_is_checked(bic: str) -> None:
    assert "is not a BIC" in _refused("creditorAgent", creditorAgent=bic)


def test_a_misspelt_field_is_refused() -> None:
    assert "not permitted" in _refused("curency", curency="USD")


def test_the_instruction_is_what_the_bank_documents() -> None:
    sent = instruction(a_payment(), _BANK, "0190-aa", _NOW)
    assert json.loads(sent) == {
        "initiatingParty": "PAYDESK",
        "paymentInformationId": "0190aa",
        "paymentMethod": "TRF",
        "requestedExecutionDate": "2026-03-14",
        "paymentIdentification": {
            "instructionIdentification": "0190aa",
            "endToEndIdentification": "0190aa",
        },
        "instructionPriority": "NORM",
        "chargeBearer": "SHA",
        "instructedAmount": {"amount": 100.00, "currency": "EUR"},
        "debitorAgent": {"identification": "DEUTDEFF"},
        "debtorAccountId": {
            "identificationType": "IBAN",
            "identification": "DE89370400440532013000",
            "name": "Bob",
            "currency": "EUR",
        },
        "creditor": {"name": "Alice", "postalAddress": "1 Sandbox Street, London"},
        "creditorAgent": {"identification": "WESTGB22"},
        "creditorAccountId": {
            "identificationType": "IBAN",
            "identification": "GB82WEST12345698765432",
        },
        "remittanceInformationUnstructured": "Payment 0190aa",
    }


def test_the_payees_account_and_bank_come_from_one_place() -> None:
    known = a_payment(creditorAccount="DE89 3704 0044 0532 0130 00")
    sent = json.loads(instruction(known, _BANK, "id", _NOW))
    assert sent["creditorAccountId"]["identification"] == "DE89370400440532013000"
    assert sent["creditorAgent"] == {"identification": "COBADEFFXXX"}
    assert "postalAddress" not in sent["creditor"]
    with pytest.raises(PaymentInvalidError, match=r"creditorAccount: .* send its IBAN"):
        instruction(a_payment(creditorAgent="DEUTDEFF"), _BANK, "id", _NOW)
    with pytest.raises(PaymentInvalidError, match=r"creditorAgent: .* send its BIC"):
        instruction(a_payment(creditorAccount="GB82WEST12345698765432"), _BANK, "id", _NOW)


@pytest.mark.parametrize(("day", "sent"), [("2026-03-14", "2026-03-14"), ("2026-12-31",) * 2])
def test_the_execution_date_is_today_or_later(day: str, sent: str) -> None:
    content = json.loads(instruction(a_payment(executionDate=day), _BANK, "id", _NOW))
    assert content["requestedExecutionDate"] == sent
    with pytest.raises(PaymentInvalidError, match="executionDate: 2026-03-12 is past"):
        instruction(a_payment(executionDate="2026-03-12"), _BANK, "id", _NOW)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, []),
        ({"client_id": ""}, ["PAYDESK_BANK_CLIENT_ID"]),
        ({"client_secret": ""}, ["PAYDESK_BANK_CLIENT_SECRET"]),
        ({"debtor_account": "DE00"}, ["PAYDESK_BANK_DEBTOR_ACCOUNT"]),
        ({"creditor_agent": "nope"}, ["PAYDESK_BANK_CREDITOR_AGENT"]),
        ({"default_currency": "XXX"}, ["PAYDESK_BANK_DEFAULT_CURRENCY"]),
        ({"initiating_party": "x" * 36}, ["PAYDESK_BANK_INITIATING_PARTY"]),
        ({"sandbox": False}, ["PAYDESK_BANK_BASE_URL (must begin with https://)"]),
        (
            {"base_url": "http://bank.example"},
            ["PAYDESK_BANK_BASE_URL (must begin with https://)"],
        ),
        ({"base_url": "http://127.0.0.1:3990"}, []),
        (
            {"ca_bundle": "/nowhere.pem"},
            ["PAYDESK_BANK_CA_BUNDLE (there is no /nowhere.pem)"],
        ),
    ],
)
def test_settings_that_are_missing_or_unfit_are_named(
    changes: dict[str, Any], missing: list[str]
) -> None:
    assert (
        missing_settings(sandbox_settings(**{"base_url": "http://localhost", **changes})) == missing
    )


def test_the_digest_is_of_what_was_sent_and_not_of_its_spelling() -> None:
    def digest(**changes: Any) -> str:
        return a_payment(**changes).digest(sandbox=False)

    assert digest(amount=100, currency="EUR") == digest(amount="100.00", currency="eur")
    assert digest(amount=100) == digest(amount="100.0") == digest(amount="100")
    assert digest(amount=100) != digest(amount=1)
    assert digest() != digest(amount="100.01")
    assert digest() != digest(remittance="x")
    assert digest() != digest(currency="EUR")  # Without one, the settings say which it is.
    assert digest() != a_payment().digest(sandbox=True)
