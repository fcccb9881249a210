"""`paydesk payments`: a person ends what only the bank can tell, on the ledger's own file."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from payments_bank import RunningSandbox, a_payment
from sqlalchemy import Engine

from paydesk.payments.errors import PaymentUnknownError
from paydesk.payments.office import PaymentOffice
from paydesk.payments.payment import PaymentRecord

pytest_plugins = ["payments_fixtures"]

_WHY = "--reason=Ms Roe at the bank, 3 May"


@pytest.fixture
def office(engine: Engine, bank: RunningSandbox) -> PaymentOffice:
    return PaymentOffice(engine, bank.settings())


def _unknown(
    office: PaymentOffice, bank: RunningSandbox, fault: str = "drop_after", key: str = "key"
) -> str:
    """The id of a payment that the bank has booked, and the ledger does not know of it."""
    bank.order(fault, times=3)
    with pytest.raises(PaymentUnknownError) as told:
        office.pay(a_payment(accountA=f"Alice {key}"), key, "r")
    bank.faults.clear()
    return told.value.payment.payment_id


def _paydesk(folder: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The CLI on the database in `folder`, with no bank configured."""
    ours = {k: v for k, v in os.environ.items() if not k.startswith("PAYDESK_")}
    return subprocess.run(
        [sys.executable, "-m", "paydesk", "payments", *words],
        cwd=ROOT,
        env={**ours, "COLUMNS": "250", "PAYDESK_HOME": str(folder), **settings},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _refused(done: subprocess.CompletedProcess[str], told: str) -> None:
    """Exit code 2, one sentence, and nothing on standard output."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert told in line


def _last(payment: PaymentRecord) -> tuple[str, str, str | None]:
    event = payment.history[-1]
    return event.state, event.detail, event.bank_reference


def test_a_booked_payment_is_settled_under_the_banks_reference(
    office: PaymentOffice, bank: RunningSandbox, tmp_path: Path
) -> None:
    payment_id = _unknown(office, bank)
    (booking,) = bank.books.bookings()
    done = _paydesk(tmp_path, "settle", payment_id, f"--reference={booking.reference}", _WHY)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"Payment {payment_id} (100.00 EUR to Alice key) is accepted.\n"
    settled = office.payment(payment_id)
    told = "by hand: Ms Roe at the bank, 3 May"
    assert _last(settled) == ("accepted", told, booking.reference)
    assert str(settled.history[-1].request_id).startswith("cli-")
    assert office.pay(a_payment(accountA="Alice key"), "key", "r").replayed
    assert len(bank.books.bookings()) == 1


def test_one_that_is_not_booked_keeps_the_reference_that_the_bank_once_gave(
    office: PaymentOffice, bank: RunningSandbox, tmp_path: Path
) -> None:
    payment_id = _unknown(office, bank, "odd_status")
    reference = office.payment(payment_id).bank_reference
    assert reference is not None
    done = _paydesk(tmp_path, "settle", payment_id, "--not-booked", _WHY)
    assert done.returncode == 0
    assert "is rejected" in done.stdout
    assert reference in done.stderr
    settled = office.payment(payment_id)
    assert _last(settled) == ("rejected", "by hand: Ms Roe at the bank, 3 May", reference)
    assert settled.bank_reference == reference


def test_another_reference_leaves_the_first_one_in_the_history(
    office: PaymentOffice, bank: RunningSandbox, tmp_path: Path
) -> None:
    payment_id = _unknown(office, bank, "odd_status")
    first = office.payment(payment_id).bank_reference
    assert _paydesk(tmp_path, "settle", payment_id, "--reference=OTHER-1", _WHY).returncode == 0
    told = [event.bank_reference for event in office.payment(payment_id).history]
    assert told[-2:] == [first, "OTHER-1"]


def test_what_cannot_be_settled_is_one_sentence(
    office: PaymentOffice, bank: RunningSandbox, tmp_path: Path
) -> None:
    paid = office.pay(a_payment(), "paid", "r").payment.payment_id
    unknown = _unknown(office, bank)
    booked = "--reference=PR-1"
    _refused(_paydesk(tmp_path, "settle", "none", booked, _WHY), "There is no payment 'none'")
    _refused(_paydesk(tmp_path, "settle", paid, "--not-booked", _WHY), f"{paid} is accepted")
    _refused(_paydesk(tmp_path, "settle", unknown, _WHY), "either --reference")
    _refused(_paydesk(tmp_path, "settle", unknown, booked, "--not-booked", _WHY), "either")
    _refused(_paydesk(tmp_path, "settle", unknown, booked, "--reason= "), "The reason")
    _refused(_paydesk(tmp_path, "settle", unknown, booked, "--reason=a\nb c"), "The reason")
    _refused(_paydesk(tmp_path, "settle", unknown, "--reference=a b", _WHY), "is not a reference")
    of_the_other = str(office.payment(paid).bank_reference)
    done = _paydesk(tmp_path, "settle", unknown, f"--reference={of_the_other}", _WHY)
    _refused(done, f"is that of payment {paid}")
    assert office.payment(unknown).state == "unknown"
    assert _paydesk(tmp_path, "settle", unknown, booked).returncode == 2  # Without a reason.


def test_in_the_wrong_place_nothing_is_begun(tmp_path: Path) -> None:
    for words in (("list",), ("after-restore",), ("settle", "x", "--not-booked", _WHY)):
        _refused(_paydesk(tmp_path, *words), f"There is no database {tmp_path}")
    assert list(tmp_path.iterdir()) == []


def test_a_setting_that_cannot_be_used_is_named(engine: Engine, tmp_path: Path) -> None:
    done = _paydesk(tmp_path, "list", PAYDESK_BANK_READ_TIMEOUT_S="soon")
    _refused(done, "PAYDESK_BANK_READ_TIMEOUT_S")


def test_payments_are_listed_by_state_as_a_table_and_as_json(
    office: PaymentOffice, bank: RunningSandbox, tmp_path: Path
) -> None:
    assert "No payments that are unknown." in _paydesk(tmp_path, "list", "--state=unknown").stderr
    paid = office.pay(a_payment(), "paid", "r").payment.payment_id
    unknown = _unknown(office, bank)
    shown = _paydesk(tmp_path, "list").stdout
    assert shown.index(unknown) < shown.index(paid)
    only = _paydesk(tmp_path, "list", "--state", "unknown")
    assert unknown in only.stdout
    assert "no clear answer from the bank" in only.stdout
    assert paid not in only.stdout
    lines = _paydesk(tmp_path, "list", "--state", "unknown", "--json").stdout.splitlines()
    (payment,) = [json.loads(line) for line in lines]
    assert (payment["payment_id"], payment["state"]) == (unknown, "unknown")
    assert [event["state"] for event in payment["history"]] == ["recorded", "sent", "unknown"]
    assert "Invalid value" in _paydesk(tmp_path, "list", "--state", "lost").stderr


def test_the_words_of_others_play_no_tricks_with_the_terminal(
    office: PaymentOffice, bank: RunningSandbox, tmp_path: Path
) -> None:
    payment_id = _unknown(office, bank)
    office.after_restore("r")
    with pytest.raises(PaymentUnknownError):
        office.pay(a_payment(accountA="Alice key"), "key", "r", remark="[red]\x9b2J\u202esettled")
    shown = _paydesk(tmp_path, "list").stdout
    assert payment_id in shown
    assert "[red]\ufffd2J\ufffdsettled" in shown


def test_after_a_restore_every_open_payment_is_a_persons(
    office: PaymentOffice, bank: RunningSandbox, tmp_path: Path
) -> None:
    paid = office.pay(a_payment(), "paid", "r").payment.payment_id
    unknown = _unknown(office, bank)
    replays = [booking.replays for booking in bank.books.bookings()]
    done = _paydesk(tmp_path, "after-restore")
    assert done.returncode == 0
    assert done.stdout.startswith("Open payments that wait for a person now: 1.")
    assert "now: 0." in _paydesk(tmp_path, "after-restore").stdout
    assert office.payment(paid).state == "accepted"
    assert "a backup was restored" in office.payment(unknown).history[-1].detail
    with pytest.raises(PaymentUnknownError) as told:
        office.pay(a_payment(accountA="Alice key"), "key", "r")
    assert told.value.retry_after_s == 3_600
    assert [booking.replays for booking in bank.books.bookings()] == replays
