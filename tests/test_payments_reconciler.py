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
    SettlementInvalidError,
)
from paydesk.payments.identity import BankIdentity
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


_BANK = BankIdentity("f" * 64, sandbox=True)


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


def test_a_payment_whose_process_died_is_settled_when_its_call_is_over_and_not_before(
    office: PaymentOffice, engine: Engine, bank: RunningSandbox, clock: Clock
) -> None:
    paid = office.pay(a_payment(), "key", "r").payment
    _dies_in_the_call(engine, paid)
    with pytest.raises(PaymentSettledError, match=r"is sent \("):
        office.settle(paid.payment_id, None, "asked Ms Roe at the bank", "r")
    clock.advance(60)  # And no reconciler runs: the bank's settings are gone, say.
    (booking,) = bank.books.bookings()
    settled = office.settle(paid.payment_id, booking.reference, "asked Ms Roe at the bank", "r")
    assert (settled.state, settled.bank_reference) == ("accepted", booking.reference)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        *(("a b", "Ms Roe"), ("", "Ms Roe"), ("r" * 141, "Ms Roe"), ("a\n", "Ms Roe")),
        *((None, " a "), (None, "two\nlines"), (None, "x" * 501), (None, "\x1b[2J Ms Roe")),
    ],
)
def test_what_a_person_says_has_to_fit_the_history(
    office: PaymentOffice, bank: RunningSandbox, reference: str | None, reason: str
) -> None:
    payment_id = _unknown(office, bank)
    with pytest.raises(SettlementInvalidError):
        office.settle(payment_id, reference, reason, "r")
    assert office.payment(payment_id).state == "unknown"


def test_what_a_person_has_been_given_nobody_else_sends(engine: Engine, clock: Clock) -> None:
    ledger = Ledger(engine, _BANK, clock)
    ledger.record(a_draft("p"), "r", 0)
    claim = ledger.claim("p", "r", 1.0)
    assert claim is not None
    ledger.settle(claim, InDoubt("ask the bank", 1, by_hand=True), "r", 5.0)
    clock.advance(_HOUR_S)
    assert ledger.claim("p", "r", 1.0) is None


def test_a_payment_recorded_for_the_sandbox_is_no_real_banks(engine: Engine, clock: Clock) -> None:
    Ledger(engine, _BANK, clock).record(a_draft("p"), "r", 0)
    real = Ledger(engine, BankIdentity("e" * 64, sandbox=False), clock)
    assert real.claim("p", "r", 1.0) is None


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
    engine: Engine, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = Ledger(engine, _BANK, clock)
    ledger.record(a_draft("p"), "r", 0)
    first = ledger.claim("p", "r", 1.0)
    assert first is not None
    ledger.settle(first, Taken("one", "WXYZ", {}), "r", 5.0)
    second = ledger.claim("p", "r", 1.0)
    assert second is not None
    told = ledger.settle(second, Taken("two", "PDNG", {}), "r", 5.0)
    assert "names a second reference" in caplog.text
    assert told.payment.state == "unknown"
    assert "names a second reference" in told.payment.history[-1].detail
    assert told.due_at_us is None  # From here on it is a person's.


@pytest.mark.parametrize("by", ["the reconciler", "a repeat"])
def test_a_reference_that_the_bank_forgot_is_not_sent_again(
    office: PaymentOffice, bank: RunningSandbox, clock: Clock, engine: Engine, by: str
) -> None:
    payment = office.pay(a_payment(), "key", "r").payment
    _dies_in_the_call(engine, payment)
    with engine.begin() as connection:
        connection.execute(update(tables.payments).values(bank_reference="another"))
    clock.advance(60)
    if by == "the reconciler":
        office.reconcile()
    else:
        with pytest.raises(PaymentUnknownError, match="does not know another"):
            office.pay(a_payment(), "key", "r2")
    told = office.payment(payment.payment_id)
    assert told.state == "unknown"
    assert "the bank does not know another, the reference that it gave" in told.history[-1].detail
    clock.advance(_HOUR_S)
    assert office.reconcile() == 0
    (booking,) = bank.books.bookings()
    assert booking.replays == 0
    settled = office.settle(payment.payment_id, None, "asked", "r")
    assert (settled.state, settled.bank_reference) == ("rejected", "another")


@pytest.mark.parametrize("change", [{"client_id": "another"}, {"initiate_path": "/another"}, None])
@pytest.mark.parametrize("state", ["unknown", "sent"])
def test_an_open_payment_is_not_made_again_at_another_bank(
    engine: Engine,
    bank: RunningSandbox,
    clock: Clock,
    state: str,
    change: dict[str, str] | None,
) -> None:
    payment_id = _unknown(PaymentOffice(engine, bank.settings(), clock=clock), bank)
    with engine.begin() as connection:
        connection.execute(update(tables.payments).values(state=state))
    clock.advance(60)
    # The same sandbox by another name: to the ledger that is another bank.
    changed = change or {"base_url": bank.url.replace("localhost", "127.0.0.1")}
    other = PaymentOffice(engine, bank.settings(**changed), clock=clock)
    other.reconcile()
    with pytest.raises(PaymentUnknownError, match="made at another bank"):
        other.pay(a_payment(), "key", "r2")
    payment = other.payment(payment_id)
    assert payment.state == "unknown"
    assert payment_id.replace("-", "") in payment.history[-1].detail
    events = len(payment.history)
    clock.advance(_HOUR_S)
    other.reconcile()
    assert len(other.payment(payment_id).history) == events
    (booking,) = bank.books.bookings()
    assert booking.replays == 2  # The tries of the first call.
    assert other.settle(payment_id, booking.reference, "asked", "r").state == "accepted"


@pytest.mark.parametrize("back_s", [600, 25 * _HOUR_S])
def test_a_clock_that_was_set_back_makes_no_key_young(
    engine: Engine, bank: RunningSandbox, clock: Clock, back_s: int
) -> None:
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    payment_id = _unknown(office, bank, "drop_before")
    clock.advance(-back_s)
    for restarted in (office, PaymentOffice(engine, bank.settings(), clock=clock)):
        with pytest.raises(PaymentUnknownError, match="may have forgotten the key"):
            restarted.pay(a_payment(), "key", "r2")
        restarted.reconcile()
    assert office.payment(payment_id).state == "unknown"
    assert bank.books.bookings() == []


def test_a_clock_set_back_after_a_day_is_noticed_though_the_age_looks_young(
    office: PaymentOffice, bank: RunningSandbox, clock: Clock
) -> None:
    _unknown(office, bank, "drop_before")
    clock.advance(22 * _HOUR_S)
    bank.order("unavailable", times=3)
    office.reconcile()  # Sees the time, as every 15 s.
    clock.advance(-20 * _HOUR_S)
    office.reconcile()
    clock.advance(3 * _HOUR_S)
    with pytest.raises(PaymentUnknownError, match="may have forgotten the key"):
        office.pay(a_payment(), "key", "r2")


def test_a_lease_that_a_wrong_clock_set_far_ahead_ends(
    engine: Engine, bank: RunningSandbox, clock: Clock
) -> None:
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    payment = office.pay(a_payment(), "key", "r").payment
    _dies_in_the_call(engine, payment)
    with engine.begin() as connection:
        far = clock() + 400 * 86_400_000_000
        connection.execute(update(tables.payments).values(due_at_us=far))
    assert office.reconcile() == 1
    assert office.payment(payment.payment_id).state == "accepted"


def test_an_unknown_payment_with_a_reference_is_handed_over_after_a_week(
    engine: Engine, bank: RunningSandbox, clock: Clock
) -> None:
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    bank.order("odd_status", times=3)
    with pytest.raises(PaymentUnknownError) as told:
        office.pay(a_payment(), "key", "r")
    payment_id = told.value.payment.payment_id
    reference = told.value.payment.bank_reference
    assert reference is not None
    bank.books.change_status(reference, "WXYZ")
    clock.advance(8 * 24 * _HOUR_S)
    office.reconcile()
    payment = office.payment(payment_id)
    assert payment.state == "unknown"
    assert f"no clear word on {reference} for 7 days" in payment.history[-1].detail
    events = len(payment.history)
    clock.advance(_HOUR_S)
    office.reconcile()
    assert len(office.payment(payment_id).history) == events


def test_after_a_backup_was_restored_a_person_has_what_was_open(
    engine: Engine, bank: RunningSandbox, clock: Clock
) -> None:
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    paid = office.pay(a_payment(amount=1), "one", "r").payment
    _dies_in_the_call(engine, paid)
    dead = PaymentOffice(engine, bank.settings(base_url="http://localhost:9"), clock=clock)
    with pytest.raises(BankUnavailableError) as told:
        dead.pay(a_payment(amount=2), "two", "r")
    assert told.value.payment is not None
    unknown = _unknown(office, bank)
    assert office.after_restore("r") == 3
    clock.advance(_HOUR_S)
    assert office.reconcile() == 0
    with pytest.raises(PaymentUnknownError):
        office.pay(a_payment(amount=2), "two", "r")
    for payment_id in (paid.payment_id, told.value.payment.payment_id, unknown):
        payment = office.payment(payment_id)
        assert payment.state == "unknown"
        assert "a backup was restored" in payment.history[-1].detail
    assert [booking.replays for booking in bank.books.bookings()] == [0, 2]  # As before.
    assert office.after_restore("r") == 0


def test_what_a_person_got_wrong_is_put_right_by_the_banks_own_word_and_not_quietly(
    engine: Engine, caplog: pytest.LogCaptureFixture, clock: Clock
) -> None:
    ledger = Ledger(engine, _BANK, clock)
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
    ledger = Ledger(engine, _BANK, clock)
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
