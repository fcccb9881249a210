"""Each fault of the bank alone: what the caller is told, and where the payment ends."""

import re
from pathlib import Path

import pytest
import trustme
from payments_bank import RunningSandbox, a_payment, running_sandbox
from payments_clock import Clock
from sqlalchemy import Engine

from paydesk.errors import PaydeskError
from paydesk.payments.bank import BankClient
from paydesk.payments.errors import (
    BankUnavailableError,
    PaymentRejectedError,
    PaymentUnknownError,
)
from paydesk.payments.office import PaymentOffice
from paydesk.payments.payment import Payment, PaymentRecord
from paydesk.payments.sandbox_faults import FAULTS

pytest_plugins = ["payments_fixtures"]

_DOCS = Path(__file__).parents[1] / "docs" / "payments.md"
_STATUS = {PaymentRejectedError: 422, PaymentUnknownError: 504, BankUnavailableError: 503}
_TRIES = 3


def _table() -> dict[str, list[str]]:
    section = re.search(r"<!-- faults -->\n(.*)<!-- /faults -->", _DOCS.read_text(), re.DOTALL)
    assert section is not None
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in section.group(1).splitlines()[2:]
    ]
    return {row[0]: row[1:] for row in rows}


def _pays(office: PaymentOffice, payment: Payment, key: str) -> tuple[str, str]:
    """What the caller sees, and the id of the payment."""
    try:
        made = office.pay(payment, key, "request").payment
        status = 200
    except (PaymentRejectedError, PaymentUnknownError, BankUnavailableError) as error:
        status, made = _STATUS[type(error)], _recorded(error.payment)
    return f"{status} {made.state}", made.payment_id


def _recorded(payment: PaymentRecord | None) -> PaymentRecord:
    assert payment is not None
    return payment


def test_the_table_in_the_docs_has_every_fault_of_the_sandbox() -> None:
    assert {name: row[0] for name, row in _table().items()} == {
        fault.name: fault.what for fault in FAULTS.values()
    }


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_answered_and_ended_as_the_docs_say(
    bank: RunningSandbox, engine: Engine, clock: Clock, fault: str
) -> None:
    _, once, always, end, booked = _table()[fault]
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    bank.order(fault)
    seen_once, _ = _pays(office, a_payment(amount=1), "once")
    bank.faults.clear()
    office.close()
    office = PaymentOffice(engine, bank.settings(), clock=clock)  # With its breaker closed.
    bank.order(fault, times=_TRIES)
    seen_always, payment_id = _pays(office, a_payment(amount=2), "always")
    bank.faults.clear()
    clock.advance(60)
    office.reconcile()
    office.close()
    mine = [booking for booking in bank.books.bookings() if booking.amount == "2.00"]
    assert (seen_once, seen_always, office.payment(payment_id).state, str(len(mine))) == (
        once,
        always,
        end,
        booked,
    )


@pytest.mark.parametrize(
    "fault", [name for name, fault in FAULTS.items() if "token" in fault.calls and name != "slow"]
)
def test_faults_of_the_token_endpoint_move_nothing(
    bank: RunningSandbox, engine: Engine, fault: str
) -> None:
    office = PaymentOffice(engine, bank.settings())
    bank.order(fault, "token", times=_TRIES)
    if fault == "expired_token":  # Forgetting tokens while giving one out hurts nobody.
        assert office.pay(a_payment(), "key", "r").payment.state == "accepted"
    else:
        with pytest.raises(BankUnavailableError, match="No money moved") as told:
            office.pay(a_payment(), "key", "r")
        assert told.value.payment is not None
        assert told.value.payment.state == "recorded"
        assert bank.books.bookings() == []
    office.close()


@pytest.mark.parametrize(
    "fault", [name for name, fault in FAULTS.items() if "status" in fault.calls]
)
def test_faults_of_the_status_call_leave_the_payment_as_it_was(
    bank: RunningSandbox, engine: Engine, clock: Clock, fault: str
) -> None:
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    made = office.pay(a_payment(), "key", "r").payment
    bank.order(fault, "status", times=_TRIES)
    clock.advance(60)
    office.reconcile()
    assert office.payment(made.payment_id).state == "accepted"
    bank.faults.clear()
    clock.advance(60)
    office.close()
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    office.reconcile()
    assert office.payment(made.payment_id).bank_status == "ACSC"
    office.close()


def test_a_bank_that_nobody_can_connect_to_gets_nothing(
    bank: RunningSandbox, engine: Engine
) -> None:
    office = PaymentOffice(engine, bank.settings(base_url="http://localhost:9"))
    told = _refused(office)
    assert "no connection could be made" in str(told)
    assert told.retry_after_s == 1
    office.close()


def test_a_certificate_that_is_not_trusted_ends_the_call(tmp_path: Path, engine: Engine) -> None:
    authority = trustme.CA()
    paths = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key", "authority")}
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(str(paths["certificate"]))
    issued.private_key_pem.write_to_path(str(paths["key"]))
    authority.cert_pem.write_to_path(str(paths["authority"]))
    with running_sandbox(tmp_path, certificate=paths["certificate"], key=paths["key"]) as running:
        office = PaymentOffice(engine, running.settings())
        assert "its TLS certificate cannot be trusted" in str(_refused(office))
        assert running.books.bookings() == []
        office.close()
        trusting = PaymentOffice(engine, running.settings(ca_bundle=paths["authority"]))
        assert trusting.pay(a_payment(), "key", "r").payment.state == "accepted"
        trusting.close()


def test_wrong_credentials_are_told_to_whoever_runs_paydesk_and_not_tried_again(
    bank: RunningSandbox, engine: Engine
) -> None:
    office = PaymentOffice(engine, bank.settings(client_secret="wrong"))
    told = _refused(office)
    assert "PAYDESK_BANK_CLIENT_SECRET" in str(told)
    assert "wrong" not in str(told)
    assert told.retry_after_s == 60
    office.close()


def test_a_refusal_after_an_unanswered_call_is_not_believed(
    bank: RunningSandbox, engine: Engine, clock: Clock
) -> None:
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    bank.order("drop_after")
    bank.order("refused")
    seen, payment_id = _pays(office, a_payment(), "key")
    assert seen == "504 unknown"
    bank.order("refused")
    assert _pays(office, a_payment(), "key") == ("504 unknown", payment_id)
    clock.advance(60)
    office.reconcile()
    assert office.payment(payment_id).state == "accepted"
    assert len(bank.books.bookings()) == 1
    office.close()


def test_after_five_failures_a_dead_bank_is_told_at_once(
    bank: RunningSandbox, engine: Engine
) -> None:
    settings = bank.settings(base_url="http://localhost:9")
    office = PaymentOffice(
        engine, settings, client=BankClient(settings, breaker_failures=5, breaker_recovery_s=60)
    )
    for key in ("a", "b"):
        with pytest.raises(BankUnavailableError):
            office.pay(a_payment(), key, "r")
    with pytest.raises(BankUnavailableError, match="failed several times in a row") as told:
        office.pay(a_payment(), "c", "r")
    assert 50 <= told.value.retry_after_s <= 60
    assert told.value.payment is None
    office.close()


def _refused(office: PaymentOffice) -> BankUnavailableError:
    with pytest.raises(PaydeskError) as told:
        office.pay(a_payment(), "key", "r")
    assert isinstance(told.value, BankUnavailableError)
    assert told.value.payment is not None
    assert told.value.payment.state == "recorded"
    return told.value
