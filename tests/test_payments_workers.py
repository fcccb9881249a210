"""Several offices on one database, as several workers have them: SQLite and PostgreSQL alike."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from payments_bank import RunningSandbox, a_payment
from payments_clock import Clock
from sqlalchemy import Engine

from paydesk.payments.errors import (
    DuplicatePaymentError,
    IdempotencyKeyReusedError,
    PaymentInProgressError,
    PaymentUnknownError,
    SettlementInvalidError,
)
from paydesk.payments.office import PaymentOffice
from paydesk.storage.database import open_database

pytest_plugins = ["payments_fixtures"]

_WORKERS = 4


@pytest.fixture
def engines(database_url: str) -> Iterator[list[Engine]]:
    engines = [open_database(database_url) for _ in range(_WORKERS)]
    yield engines
    for engine in engines:
        engine.dispose()


@pytest.fixture
def offices(engines: list[Engine], bank: RunningSandbox) -> Iterator[list[PaymentOffice]]:
    offices = [PaymentOffice(engine, bank.settings()) for engine in engines]
    yield offices
    for office in offices:
        office.close()


def _together(offices: list[PaymentOffice], key: str | None) -> list[str]:
    """What 20 callers that pay the same thing at the same moment are told."""
    barrier = threading.Barrier(20)

    def pay(number: int) -> str:
        barrier.wait()
        try:
            return offices[number % _WORKERS].pay(a_payment(), key, f"r{number}").payment.state
        except (DuplicatePaymentError, PaymentInProgressError) as error:
            return type(error).__name__

    with ThreadPoolExecutor(20) as callers:
        return list(callers.map(pay, range(20)))


def test_one_key_at_many_workers_is_one_payment(
    offices: list[PaymentOffice], bank: RunningSandbox
) -> None:
    told = _together(offices, "one key")
    (booking,) = bank.books.bookings()
    assert booking.replays == 0
    assert set(told) <= {"accepted", "PaymentInProgressError"}
    assert "accepted" in told


def test_without_a_key_many_workers_make_one_payment_of_the_same(
    offices: list[PaymentOffice], bank: RunningSandbox
) -> None:
    told = _together(offices, None)
    (booking,) = bank.books.bookings()
    assert booking.replays == 0
    assert told.count("accepted") == 1
    assert told.count("DuplicatePaymentError") == 19


def test_workers_that_reconcile_together_send_nothing_twice(
    engines: list[Engine], bank: RunningSandbox
) -> None:
    clock = Clock()
    offices = [PaymentOffice(engine, bank.settings(), clock=clock) for engine in engines]
    for number in range(10):
        bank.order("drop_before", times=3)
        with pytest.raises(Exception, match="may or may not have been booked"):
            PaymentOffice(engines[0], bank.settings()).pay(
                a_payment(amount=number + 1), f"key-{number}", "r"
            )
    clock.advance(6)
    with ThreadPoolExecutor(_WORKERS) as workers:
        changed = sum(workers.map(lambda office: office.reconcile(), offices))
    assert changed == 10
    assert [booking.replays for booking in bank.books.bookings()] == [0] * 10
    for office in offices:
        office.close()


def test_a_call_in_flight_is_left_alone_by_the_reconciler(
    offices: list[PaymentOffice], bank: RunningSandbox
) -> None:
    bank.order("slow", times=1)
    with ThreadPoolExecutor(1) as caller:
        paid = caller.submit(offices[0].pay, a_payment(), "key", "r")
        time.sleep(0.15)
        assert offices[1].payments().payments[0].state == "sent"
        assert offices[1].reconcile() == 0
        with pytest.raises(PaymentInProgressError):
            offices[1].pay(a_payment(), "key", "r2")
        assert paid.result().payment.state == "accepted"
    (booking,) = bank.books.bookings()
    assert booking.replays == 0


def test_the_ledger_answers_alike_on_every_database(
    offices: list[PaymentOffice], bank: RunningSandbox
) -> None:
    made = [offices[n].pay(a_payment(amount=n + 1), f"k{n}", "r").payment for n in range(3)]
    page = offices[3].payments(limit=2)
    ids = [payment.payment_id for payment in page.payments]
    assert ids == [made[2].payment_id, made[1].payment_id]
    assert offices[3].payments(page.next_cursor).payments[0].payment_id == made[0].payment_id
    assert offices[3].payment(made[0].payment_id) == made[0]
    with pytest.raises(IdempotencyKeyReusedError):
        offices[3].pay(a_payment(amount=9), "k0", "r")


def test_a_person_is_given_payments_and_settles_them_alike_on_every_database(
    offices: list[PaymentOffice], bank: RunningSandbox
) -> None:
    told = []
    for number in range(3):
        bank.order("drop_after", times=3)
        with pytest.raises(PaymentUnknownError) as error:
            offices[number].pay(a_payment(amount=number + 1), f"k{number}", "r")
        told.append(error.value.payment.payment_id)
    assert [office.after_restore("r") for office in offices] == [3, 0, 0, 0]
    unknown = offices[0].payments(state="unknown").payments
    assert [payment.payment_id for payment in unknown] == told[::-1]
    assert offices[1].settle(told[0], "PR-1", "Ms Roe said so", "r").state == "accepted"
    with pytest.raises(SettlementInvalidError, match=f"is that of payment {told[0]}"):
        offices[2].settle(told[1], "PR-1", "Ms Roe said so", "r")
    assert offices[2].settle(told[1], None, "Ms Roe said so", "r").state == "rejected"
    (left,) = offices[3].payments(state="unknown").payments
    assert left.payment_id == told[2]
    assert offices[3].reconcile() == 0
