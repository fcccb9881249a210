"""What is left open is ended: by the bank's word, by the key, by a person, and never twice."""

import threading
import time

import pytest
from payments_bank import RunningSandbox, a_payment
from payments_clock import Clock
from sqlalchemy import Engine, select, update

from paydesk.payments.answers import InDoubt, Taken
from paydesk.payments.errors import (
    BankNotConfiguredError,
    BankUnavailableError,
    PaymentRejectedError,
    PaymentSettledError,
    PaymentUnknownError,
)
from paydesk.payments.ledger import Draft, Ledger
from paydesk.payments.office import PaymentOffice
from paydesk.payments.payment import PaymentRecord
from paydesk.settings import BankSettings
from paydesk.storage import tables

pytest_plugins = ["payments_fixtures"]

_HOUR_S = 3_600


@pytest.fixture
def office(engine: Engine, bank: RunningSandbox, clock: Clock) -> PaymentOffice:
    return PaymentOffice(engine, bank.settings(), clock=clock)


def a_draft(payment_id: str) -> Draft:
    return Draft(payment_id, "Alice", "Bob", "1.00", "EUR", "d" * 64, b"{}", sandbox=True)


def _unknown(office: PaymentOffice, bank: RunningSandbox, fault: str = "drop_after") -> str:
    bank.order(fault, times=3)
    with pytest.raises(PaymentUnknownError) as told:
        office.pay(a_payment(), "key", "r")
    return told.value.payment.payment_id


def _dies_in_the_call(engine: Engine, payment: PaymentRecord) -> None:
    """Leaves the ledger as a process does that was killed before the bank's answer."""
    with engine.begin() as connection:
        connection.execute(
            update(tables.payments)
            .where(tables.payments.c.payment_id == payment.payment_id)
            .values(state="sent", bank_reference=None, bank_status=None, bank_answer=None)
        )


def test_nothing_to_do_is_nothing_done(office: PaymentOffice) -> None:
    assert office.reconcile() == 0


def test_an_unknown_payment_is_asked_about_when_it_is_due_and_not_before(
    office: PaymentOffice, bank: RunningSandbox, clock: Clock
) -> None:
    payment_id = _unknown(office, bank)
    assert office.reconcile() == 0
    clock.advance(6)
    assert office.reconcile() == 1
    payment = office.payment(payment_id)
    assert payment.state == "accepted"
    assert [event.state for event in payment.history] == [
        "recorded", "sent", "unknown", "sent", "accepted",
    ]  # fmt: skip
    assert payment.history[3].detail == "attempt 2, by the reconciler"
    (booking,) = bank.books.bookings()
    assert booking.replays == 3  # Two tries of the first call, and the reconciler's.


def test_a_payment_whose_process_died_in_the_call_is_taken_up_after_its_lease(
    engine: Engine, bank: RunningSandbox, clock: Clock
) -> None:
    office = PaymentOffice(engine, bank.settings(deadline_s=20.0), clock=clock)
    payment = office.pay(a_payment(), "key", "r").payment
    _dies_in_the_call(engine, payment)
    with engine.begin() as connection:
        connection.execute(update(tables.payments).values(due_at_us=clock() + 22_000_000))
    clock.advance(21)
    assert office.reconcile() == 0
    clock.advance(2)
    assert office.reconcile() == 1
    again = office.payment(payment.payment_id)
    assert (again.state, again.bank_reference) == ("accepted", payment.bank_reference)
    assert len(bank.books.bookings()) == 1


def test_a_day_later_nothing_is_sent_again_and_a_person_is_told(
    office: PaymentOffice, bank: RunningSandbox, clock: Clock
) -> None:
    payment_id = _unknown(office, bank, "drop_before")
    clock.advance(23 * _HOUR_S + 1)
    office.reconcile()
    payment = office.payment(payment_id)
    assert payment.state == "unknown"
    assert "ask the bank by the end-to-end identification" in payment.history[-1].detail
    assert payment_id.replace("-", "") in payment.history[-1].detail
    clock.advance(48 * _HOUR_S)
    events = len(payment.history)
    office.reconcile()
    with pytest.raises(PaymentUnknownError) as told:
        office.pay(a_payment(), "key", "r2")
    assert told.value.retry_after_s == _HOUR_S
    assert len(office.payment(payment_id).history) == events
    assert bank.books.bookings() == []


@pytest.mark.parametrize(("reference", "state"), [("bank-ref-1", "accepted"), (None, "rejected")])
def test_a_person_settles_what_only_the_bank_can_tell(
    office: PaymentOffice, bank: RunningSandbox, reference: str | None, state: str
) -> None:
    payment_id = _unknown(office, bank)
    settled = office.settle(payment_id, reference, "asked Ms Roe at the bank", "r")
    assert (settled.state, settled.bank_reference) == (state, reference)
    assert settled.history[-1].detail == "by hand: asked Ms Roe at the bank"
    with pytest.raises(PaymentSettledError, match=f"is {state}"):
        office.settle(payment_id, reference, "again", "r")


def test_a_payment_never_sent_is_given_up_after_an_hour(
    engine: Engine, bank: RunningSandbox, clock: Clock
) -> None:
    dead = PaymentOffice(engine, bank.settings(base_url="http://localhost:9"), clock=clock)
    with pytest.raises(BankUnavailableError) as told:
        dead.pay(a_payment(), "key", "r")
    assert told.value.payment is not None
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    clock.advance(_HOUR_S - 60)
    assert office.reconcile() == 0
    clock.advance(120)
    assert office.reconcile() == 1
    with pytest.raises(PaymentRejectedError, match="nobody asked for it within 3600 s"):
        office.pay(a_payment(), "key", "r2")
    assert bank.books.bookings() == []


def test_a_payment_never_sent_is_taken_up_by_whoever_repeats_it(
    engine: Engine, bank: RunningSandbox, clock: Clock
) -> None:
    dead = PaymentOffice(engine, bank.settings(base_url="http://localhost:9"), clock=clock)
    for key in ("key", None):
        with pytest.raises(BankUnavailableError) as told:
            dead.pay(a_payment(accountA=f"Payee {key}"), key, "r")
        assert told.value.payment is not None
        office = PaymentOffice(engine, bank.settings(), clock=clock)
        made = office.pay(a_payment(accountA=f"Payee {key}"), key, "r2").payment
        assert made.payment_id == told.value.payment.payment_id
        assert [event.state for event in made.history] == [
            "recorded", "sent", "recorded", "sent", "accepted",
        ]  # fmt: skip


def test_a_sandbox_payment_is_never_sent_to_a_real_bank(
    engine: Engine, bank: RunningSandbox, clock: Clock
) -> None:
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    payment_id = _unknown(office, bank, "drop_before")
    with engine.begin() as connection:  # As if it had been made at a real bank.
        connection.execute(update(tables.payments).values(sandbox=False))
    clock.advance(60)
    assert office.reconcile() == 0
    assert office.payment(payment_id).state == "unknown"
    assert bank.books.bookings() == []
    assert office.pay(a_payment(), None, "r").payment.state == "accepted"  # And is no duplicate.


def test_the_last_word_of_the_bank_is_asked_for_and_then_no_more(
    office: PaymentOffice, bank: RunningSandbox, clock: Clock, engine: Engine
) -> None:
    bank.order("rejects_later")
    payment_id = office.pay(a_payment(), "key", "r").payment.payment_id
    clock.advance(6)
    assert office.reconcile() == 1
    payment = office.payment(payment_id)
    assert (payment.state, payment.bank_status) == ("rejected", "RJCT")
    assert payment.history[-1].detail == "the bank says RJCT: AC04 Closed account"
    assert payment.bank is not None
    assert payment.bank["paymentInitiationStatusReport"]["statusReasonCode"] == "AC04"
    with engine.connect() as connection:
        assert connection.execute(select(tables.payments.c.due_at_us)).scalar_one() is None
    with pytest.raises(PaymentRejectedError, match="Closed account") as told:
        office.pay(a_payment(), "key", "r2")
    assert told.value.replayed


def test_a_second_reference_for_one_payment_is_cried_out(
    office: PaymentOffice,
    bank: RunningSandbox,
    clock: Clock,
    engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    payment = office.pay(a_payment(), "key", "r").payment
    _dies_in_the_call(engine, payment)
    with engine.begin() as connection:
        connection.execute(update(tables.payments).values(bank_reference="another"))
    clock.advance(60)
    office.reconcile()
    assert "names a second reference" in caplog.text
    told = office.payment(payment.payment_id)
    assert told.state == "unknown"
    assert "names a second reference" in told.history[-1].detail
    clock.advance(_HOUR_S)
    assert office.reconcile() == 0  # From here on it is a person's.


def test_what_a_person_got_wrong_is_put_right_by_the_banks_own_word_and_not_quietly(
    engine: Engine, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    ledger = Ledger(engine, clock)
    ledger.record(a_draft("p"), "r", 0)
    late = ledger.claim("p", "r", 1.0)
    assert late is not None
    ledger.settle(late, InDoubt("timeout", 1), "r", 5.0)
    assert ledger.settle_by_hand("p", None, "misread", "r").payment.state == "rejected"
    ended = ledger.settle(late, Taken("ref", "PDNG", {}), "r", 5.0).payment
    assert (ended.state, ended.bank_reference) == ("accepted", "ref")
    assert "rejected here. Ask it." in caplog.text


@pytest.mark.parametrize(
    ("words", "state", "status"),
    [
        (["PDNG", "ACSC", "PDNG"], "accepted", "ACSC"),
        (["PDNG", "RJCT", "PDNG"], "rejected", "RJCT"),
        (["PDNG", "ACSP", "ACSC"], "accepted", "ACSC"),
        (["ACSC", "RJCT"], "rejected", "RJCT"),
        (["WXYZ"], "unknown", "WXYZ"),
        (["RJCT", "RJCT"], "rejected", "RJCT"),
    ],
)
def test_the_banks_last_word_is_not_taken_back_by_a_replay_of_its_first(
    engine: Engine, clock: Clock, words: list[str], state: str, status: str
) -> None:
    ledger = Ledger(engine, clock)
    ledger.record(a_draft("p"), "r", 0)
    claim = ledger.claim("p", "r", 1.0)
    assert claim is not None
    for word in words:
        ended = ledger.settle(claim, Taken("ref", word, {}), "r", 5.0).payment
    assert (ended.state, ended.bank_status) == (state, status)


def test_started_it_reconciles_at_once_and_then_again(
    engine: Engine, bank: RunningSandbox, clock: Clock
) -> None:
    first = PaymentOffice(engine, bank.settings(), clock=clock)
    payment_id = _unknown(first, bank)
    clock.advance(6)
    office = PaymentOffice(engine, bank.settings(), clock=clock, reconcile_every_s=0.1)
    office.start()
    _until(lambda: office.payment(payment_id).state == "accepted")
    bank.order("rejects_later")
    later = office.pay(a_payment(), "another", "r").payment.payment_id
    clock.advance(6)
    _until(lambda: office.payment(later).state == "rejected")
    office.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "reconciler"]


def test_without_a_bank_there_is_nothing_to_start(engine: Engine) -> None:
    office = PaymentOffice(engine, BankSettings())
    office.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "reconciler"]
    with pytest.raises(BankNotConfiguredError):
        office.reconcile()
    office.close()


def _until(true: object) -> None:
    assert callable(true)
    give_up = time.monotonic() + 10
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.05)
