"""Paying through the office: one key, one payment, at a real sandbox bank and on a real disk."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from payments_bank import RunningSandbox, a_payment
from payments_clock import Clock
from sqlalchemy import Engine, text, update

from paydesk.payments.approval import Approval
from paydesk.payments.errors import (
    BankNotConfiguredError,
    CursorInvalidError,
    DuplicatePaymentError,
    IdempotencyKeyInvalidError,
    IdempotencyKeyReusedError,
    OverrideInvalidError,
    PaymentInProgressError,
    PaymentInvalidError,
    PaymentNotFoundError,
    PaymentRejectedError,
    PaymentUnknownError,
)
from paydesk.payments.office import PaymentOffice, PaymentOutcome
from paydesk.settings import BankSettings
from paydesk.storage import tables
from paydesk.storage.database import DatabaseUnavailableError

pytest_plugins = ["payments_fixtures"]


@pytest.fixture
def office(engine: Engine, bank: RunningSandbox) -> Iterator[PaymentOffice]:
    office = PaymentOffice(engine, bank.settings())
    yield office
    office.close()


def test_a_payment_is_booked_once_and_its_record_tells_all(
    office: PaymentOffice, bank: RunningSandbox
) -> None:
    outcome = office.pay(a_payment(), "key-1", "request-1")
    record = outcome.payment
    (booking,) = bank.books.bookings()
    assert not outcome.replayed
    assert (record.state, record.bank_status) == ("accepted", "PDNG")
    assert record.bank_reference == booking.reference
    assert record.bank == {
        "paymentRequestId": booking.reference,
        "transactionStatus": "PDNG",
        "sandbox": True,
    }
    assert (booking.amount, booking.currency) == ("100.00", "EUR")
    assert (booking.creditor, booking.debtor) == ("Alice", "Bob")
    assert record.sandbox
    assert [(event.state, event.request_id) for event in record.history] == [
        ("recorded", "request-1"),
        ("sent", "request-1"),
        ("accepted", "request-1"),
    ]
    assert office.payment(record.payment_id) == record


def test_the_record_is_written_with_the_names_of_the_old_client(office: PaymentOffice) -> None:
    content = office.pay(a_payment(), None, "r").payment.model_dump(mode="json")
    assert (content["accountA"], content["accountB"]) == ("Alice", "Bob")
    assert (content["amount"], content["currency"]) == ("100.00", "EUR")


def test_the_same_key_and_payment_gets_the_stored_answer(
    office: PaymentOffice, bank: RunningSandbox
) -> None:
    first = office.pay(a_payment(amount=100), "key-1", "r1")
    again = office.pay(a_payment(amount="100.0"), "key-1", "r2")
    assert again == PaymentOutcome(first.payment, replayed=True)
    assert len(bank.books.bookings()) == 1


def test_the_same_key_with_another_payment_is_refused(
    office: PaymentOffice, bank: RunningSandbox
) -> None:
    first = office.pay(a_payment(), "key-1", "r1").payment
    with pytest.raises(IdempotencyKeyReusedError, match=first.payment_id):
        office.pay(a_payment(amount="100.01"), "key-1", "r2")
    assert len(bank.books.bookings()) == 1


def test_without_a_key_the_same_payment_again_names_the_earlier_one(
    office: PaymentOffice, bank: RunningSandbox
) -> None:
    first = office.pay(a_payment(), None, "r1").payment
    with pytest.raises(DuplicatePaymentError, match="send an Idempotency-Key of your own") as told:
        office.pay(a_payment(), None, "r2")
    assert told.value.payment.payment_id == first.payment_id
    meant = office.pay(a_payment(), "I mean it", "r3").payment
    assert len(bank.books.bookings()) == 2
    assert meant.payment_id != first.payment_id


@pytest.mark.parametrize(
    "other", [{"accountA": "Carol"}, {"accountB": "Carol"}, {"amount": 99}, {"currency": "USD"}]
)
def test_another_payee_payer_amount_or_currency_is_no_duplicate(
    office: PaymentOffice, other: dict[str, object]
) -> None:
    office.pay(a_payment(), None, "r1")
    assert office.pay(a_payment(**other), None, "r2").payment.state == "accepted"


def test_a_rejected_payment_is_no_duplicate_and_its_key_keeps_the_rejection(
    office: PaymentOffice, bank: RunningSandbox
) -> None:
    bank.order("refused")
    with pytest.raises(PaymentRejectedError) as rejected:
        office.pay(a_payment(), "key-1", "r1")
    assert not rejected.value.replayed
    with pytest.raises(PaymentRejectedError, match="no money moved") as again:
        office.pay(a_payment(), "key-1", "r2")
    assert again.value.replayed
    assert bank.books.bookings() == []
    assert office.pay(a_payment(), None, "r3").payment.state == "accepted"


def test_a_payment_in_doubt_is_ended_by_the_same_key_and_booked_once(
    office: PaymentOffice, bank: RunningSandbox
) -> None:
    bank.order("drop_after", times=3)
    with pytest.raises(PaymentUnknownError) as told:
        office.pay(a_payment(), "key-1", "r1")
    assert told.value.retry_after_s == 5
    outcome = office.pay(a_payment(), "key-1", "r2")
    assert (outcome.payment.state, outcome.replayed) == ("accepted", False)
    assert len(bank.books.bookings()) == 1


def test_twenty_threads_with_one_key_make_one_payment(
    office: PaymentOffice, bank: RunningSandbox
) -> None:
    bank.order("slow")
    seen: list[str] = []

    def pay() -> None:
        try:
            seen.append(office.pay(a_payment(), "key-1", "r").payment.state)
        except PaymentInProgressError:
            seen.append("in progress")

    threads = [threading.Thread(target=pay) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 20
    assert set(seen) <= {"accepted", "in progress"}
    assert "accepted" in seen
    (booking,) = bank.books.bookings()
    assert booking.replays == 0


def test_payments_are_listed_newest_first_page_by_page(office: PaymentOffice) -> None:
    made = [office.pay(a_payment(amount=n), None, "r").payment.payment_id for n in (1, 2, 3)]
    first = office.payments(limit=2)
    assert [payment.payment_id for payment in first.payments] == [made[2], made[1]]
    last = office.payments(first.next_cursor, 2)
    assert [payment.payment_id for payment in last.payments] == [made[0]]
    assert last.next_cursor is None


def test_an_unknown_payment_id_is_named(office: PaymentOffice) -> None:
    with pytest.raises(PaymentNotFoundError, match="no payment 'nope'"):
        office.payment("nope")


@pytest.mark.parametrize("key", ["", "x" * 256, "line\nbreak", "clé"])
def test_a_key_that_no_header_carries_is_refused(office: PaymentOffice, key: str) -> None:
    with pytest.raises(IdempotencyKeyInvalidError, match="1 to 255"):
        office.pay(a_payment(), key, "r")


def test_without_a_bank_what_is_missing_is_named_at_the_start(engine: Engine) -> None:
    office = PaymentOffice(engine, BankSettings())
    assert office.missing == [
        "PAYDESK_BANK_BASE_URL",
        "PAYDESK_BANK_CLIENT_ID",
        "PAYDESK_BANK_CLIENT_SECRET",
        "PAYDESK_BANK_INITIATING_PARTY",
        "PAYDESK_BANK_DEBTOR_AGENT",
        "PAYDESK_BANK_DEBTOR_ACCOUNT",
        "PAYDESK_BANK_CREDITOR_AGENT",
        "PAYDESK_BANK_CREDITOR_ACCOUNT",
    ]
    with pytest.raises(BankNotConfiguredError, match="PAYDESK_BANK_BASE_URL"):
        office.pay(a_payment(), None, "r")


def test_the_approval_of_a_held_payment_is_kept_with_it_and_good_for_one(
    office: PaymentOffice,
) -> None:
    approval = Approval("d-1", "called the payee", "HIGH")
    made = office.pay(a_payment(), "key-1", "r", before_new=lambda: approval).payment
    assert office.payment(made.payment_id).note == approval.note()
    assert made.history[0].detail == "let through: called the payee"
    with pytest.raises(OverrideInvalidError, match=f"'d-1' has let payment {made.payment_id}"):
        office.pay(a_payment(), "key-2", "r", before_new=lambda: approval)
    assert len(office.payments().payments) == 1


def test_without_its_ledger_the_office_sends_nothing(
    office: PaymentOffice, bank: RunningSandbox, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE payment_events RENAME TO gone"))
    for key in ("key", None):
        with pytest.raises(DatabaseUnavailableError, match="The ledger cannot be used now"):
            office.pay(a_payment(), key, "r")
    assert bank.books.bookings() == []


def test_a_payment_that_is_there_decides_before_anything_is_scored(
    office: PaymentOffice, bank: RunningSandbox
) -> None:
    def held() -> Approval | None:
        raise AssertionError("a repeat was scored")

    bank.order("drop_after", times=3)
    with pytest.raises(PaymentUnknownError):
        office.pay(a_payment(), "key", "r")
    with pytest.raises(DuplicatePaymentError):
        office.pay(a_payment(), None, "r2", before_new=held)
    remark = "a repeat named decision d-9: the payee called"
    again = office.pay(a_payment(), "key", "r3", before_new=held, remark=remark)
    assert again.payment.state == "accepted"
    assert [event.detail for event in again.payment.history].count(remark) == 1
    once_more = office.pay(a_payment(), "key", "r4", before_new=held, remark=remark)
    assert once_more.replayed
    assert once_more.payment == again.payment
    with pytest.raises(AssertionError, match="scored"):
        office.pay(a_payment(), "another key", "r5", before_new=held)


@pytest.mark.parametrize("state", ["sent", "unknown"])
def test_one_that_may_be_booked_stands_in_the_way_however_old_it_is(
    engine: Engine, bank: RunningSandbox, clock: Clock, state: str
) -> None:
    office = PaymentOffice(engine, bank.settings(), clock=clock)
    bank.order("drop_after", times=3)
    with pytest.raises(PaymentUnknownError) as told:
        office.pay(a_payment(), "key", "r")
    with engine.begin() as connection:
        connection.execute(update(tables.payments).values(state=state))
    clock.advance(30 * 86_400)
    with pytest.raises(DuplicatePaymentError, match=told.value.payment.payment_id):
        office.pay(a_payment(), None, "r2")
    assert len(bank.books.bookings()) == 1


def test_a_repeat_gets_the_stored_answer_whatever_has_changed_around_it(
    engine: Engine, bank: RunningSandbox
) -> None:
    today = datetime.now(UTC).date()
    order = a_payment(amount="5.25", executionDate=str(today))
    made = PaymentOffice(engine, bank.settings()).pay(order, "key", "r").payment
    for settings in (
        bank.settings(default_currency="JPY"),
        bank.settings(debtor_account="unfit"),
        bank.settings(client_id="another"),
    ):
        again = PaymentOffice(engine, settings).pay(order, "key", "r2")
        assert again == PaymentOutcome(made, replayed=True)
    with engine.begin() as connection:  # As the same request does some days later.
        past = a_payment(amount="5.25", executionDate="2020-02-02")
        connection.execute(update(tables.payments).values(request_digest=past.digest(sandbox=True)))
    assert PaymentOffice(engine, bank.settings()).pay(past, "key", "r3").replayed
    with pytest.raises(PaymentInvalidError, match="2020-02-02 is past"):
        PaymentOffice(engine, bank.settings()).pay(past, "another", "r4")


_FULL = (
    "CREATE TRIGGER full BEFORE INSERT ON payment_events "
    "WHEN (SELECT count(*) FROM payment_events) >= :events "
    "BEGIN SELECT RAISE(ABORT, 'secret words of the driver'); END"
)


def _full_after(engine: Engine, events: int) -> None:
    """The disk takes so many events and no more."""
    with engine.begin() as connection:
        connection.exec_driver_sql(_FULL.replace(":events", str(events)))


def test_one_that_nobody_ever_claimed_is_written_anew_when_it_is_taken_up(
    engine: Engine, bank: RunningSandbox
) -> None:
    office = PaymentOffice(engine, bank.settings())
    _full_after(engine, events=1)
    with pytest.raises(PaymentUnknownError, match="failed before the bank was called"):
        office.pay(a_payment(), "key", "r")
    with engine.begin() as connection:
        connection.execute(text("DROP TRIGGER full"))
    changed = bank.settings(debtor_account="DE75512108001245126199", default_currency="USD")
    made = PaymentOffice(engine, changed).pay(a_payment(), "key", "r2").payment
    assert (made.amount, made.currency) == ("100.00", "EUR")
    assert made.debtor_account == "****6199"
    assert made.creditor_account == "****5432"
    (booking,) = bank.books.bookings()
    assert (booking.amount, booking.currency) == ("100.00", "EUR")


def test_a_ledger_that_fails_after_the_bank_was_called_is_told_as_unknown(
    engine: Engine, bank: RunningSandbox
) -> None:
    office = PaymentOffice(engine, bank.settings())
    _full_after(engine, events=2)  # Recorded and sent.
    with pytest.raises(PaymentUnknownError, match="could not be written down") as told:
        office.pay(a_payment(), "key", "r")
    assert told.value.payment.payment_id in str(told.value)
    assert told.value.payment.state == "unknown"
    assert "driver" not in str(told.value)
    assert len(bank.books.bookings()) == 1
    with pytest.raises(PaymentInProgressError):
        office.pay(a_payment(), "key", "r2")


def test_the_words_of_the_driver_are_for_nobody(
    office: PaymentOffice, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE payments RENAME TO gone"))
    with pytest.raises(DatabaseUnavailableError) as told:
        office.pay(a_payment(), "key", "r")
    assert "no such table" not in str(told.value)
    assert "Alice" not in caplog.text
    assert "Alice" not in str(told.value.__cause__)


def test_a_list_has_neither_the_answers_of_the_bank_nor_whole_accounts(
    office: PaymentOffice,
) -> None:
    made = office.pay(a_payment(), "key", "r").payment
    (listed,) = office.payments().payments
    assert made.bank is not None
    assert listed.bank is None
    assert listed.debtor_account == "****3000"


@pytest.mark.parametrize("payment_id", ["\0", "p" * 37, "päy", ""])
def test_what_is_no_id_is_not_looked_for(office: PaymentOffice, payment_id: str) -> None:
    with pytest.raises(PaymentNotFoundError):
        office.payment(payment_id)
    with pytest.raises(CursorInvalidError):
        office.payments(f"1.{payment_id}")
