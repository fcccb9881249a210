"""Each fault of the bank alone: what the service answers, and where the payment ends."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from payments_bank import RunningSandbox, running_sandbox
from payments_clock import Clock
from payments_service import PaymentService, payment_service
from sqlalchemy import Engine

from paydesk.payments.bank import BankClient
from paydesk.payments.sandbox_faults import FAULTS
from paydesk.settings import BankSettings

pytest_plugins = ["payments_fixtures"]

_DOCS = Path(__file__).parents[1] / "docs" / "payments.md"
_TRIES = 3

Serve = Callable[..., PaymentService]


@pytest.fixture
def serve(engine: Engine, forest: Path, clock: Clock) -> Iterator[Serve]:
    """Starts a service in front of a bank; one that stays in its breaker's good books."""
    with ExitStack() as services:

        def start(settings: BankSettings, *, breaker_failures: int = 100) -> PaymentService:
            client = BankClient(settings, breaker_failures=breaker_failures, breaker_recovery_s=60)
            return services.enter_context(
                payment_service(engine, settings, forest, client=client, clock=clock)
            )

        yield start


@pytest.fixture
def service(serve: Serve, bank: RunningSandbox) -> PaymentService:
    return serve(bank.settings())


def _table() -> dict[str, list[str]]:
    section = re.search(r"<!-- faults -->\n(.*)<!-- /faults -->", _DOCS.read_text(), re.DOTALL)
    assert section is not None
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in section.group(1).splitlines()[2:]
    ]
    return {row[0]: row[1:] for row in rows}


def _payment(answer: httpx.Response) -> dict[str, Any]:
    """The payment that an answer is about, good or bad."""
    body: dict[str, Any] = answer.json()
    payment: dict[str, Any] = body if answer.status_code == 201 else body["payment"]
    return payment


def _seen(answer: httpx.Response) -> str:
    """What the caller sees."""
    return f"{answer.status_code} {_payment(answer)['state']}"


def _now(service: PaymentService, answer: httpx.Response) -> dict[str, Any]:
    """The payment as it is by now."""
    looked_up = service.client.get(f"/payment/{_payment(answer)['payment_id']}")
    assert looked_up.status_code == 200
    payment: dict[str, Any] = looked_up.json()
    return payment


def test_the_table_in_the_docs_has_every_fault_of_the_sandbox() -> None:
    assert {name: row[0] for name, row in _table().items()} == {
        fault.name: fault.what for fault in FAULTS.values()
    }


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_answered_and_ended_as_the_docs_say(
    service: PaymentService, bank: RunningSandbox, clock: Clock, fault: str
) -> None:
    _, once, always, end, booked = _table()[fault]
    bank.order(fault)
    seen_once = _seen(service.pay("once", amount=1))
    bank.faults.clear()
    bank.order(fault, times=_TRIES)
    told = service.pay("always", amount=2)
    bank.faults.clear()
    clock.advance(60)
    service.office.reconcile()
    mine = [booking for booking in bank.books.bookings() if booking.amount == "2.00"]
    assert (seen_once, _seen(told), _now(service, told)["state"], str(len(mine))) == (
        once,
        always,
        end,
        booked,
    )


@pytest.mark.parametrize(
    "fault", [name for name, fault in FAULTS.items() if "token" in fault.calls and name != "slow"]
)
def test_faults_of_the_token_endpoint_move_nothing(
    service: PaymentService, bank: RunningSandbox, fault: str
) -> None:
    bank.order(fault, "token", times=_TRIES)
    answer = service.pay("key")
    if fault == "expired_token":  # Forgetting tokens while giving one out hurts nobody.
        assert _seen(answer) == "201 accepted"
    else:
        _is_unavailable(answer)
        assert bank.books.bookings() == []


@pytest.mark.parametrize(
    "fault", [name for name, fault in FAULTS.items() if "status" in fault.calls]
)
def test_faults_of_the_status_call_leave_the_payment_as_it_was(
    service: PaymentService, bank: RunningSandbox, clock: Clock, fault: str
) -> None:
    made = service.pay("key")
    bank.order(fault, "status", times=_TRIES)
    clock.advance(60)
    service.office.reconcile()
    assert _now(service, made)["state"] == "accepted"
    bank.faults.clear()
    clock.advance(60)
    service.office.reconcile()
    assert _now(service, made)["bank_status"] == "ACSC"


def test_a_bank_that_nobody_can_connect_to_gets_nothing(serve: Serve, bank: RunningSandbox) -> None:
    answer = serve(bank.settings(base_url="http://localhost:9")).pay("key")
    assert "no connection could be made" in _is_unavailable(answer)
    assert answer.headers["retry-after"] == "1"


def test_a_certificate_that_is_not_trusted_ends_the_call(tmp_path: Path, serve: Serve) -> None:
    authority = trustme.CA()
    paths = {name: tmp_path / f"{name}.pem" for name in ("certificate", "key", "authority")}
    issued = authority.issue_cert("localhost")
    issued.cert_chain_pems[0].write_to_path(str(paths["certificate"]))
    issued.private_key_pem.write_to_path(str(paths["key"]))
    authority.cert_pem.write_to_path(str(paths["authority"]))
    with running_sandbox(tmp_path, certificate=paths["certificate"], key=paths["key"]) as running:
        refused = serve(running.settings()).pay("key")
        assert "its TLS certificate cannot be trusted" in _is_unavailable(refused)
        assert running.books.bookings() == []
        trusting = serve(running.settings(ca_bundle=paths["authority"]))
        assert _seen(trusting.pay("key")) == "201 accepted"


def test_wrong_credentials_are_told_to_whoever_runs_paydesk_and_not_tried_again(
    serve: Serve, bank: RunningSandbox
) -> None:
    answer = serve(bank.settings(client_secret="wrong")).pay("key")
    error = _is_unavailable(answer)
    assert "PAYDESK_BANK_CLIENT_SECRET" in error
    assert "wrong" not in error
    assert answer.headers["retry-after"] == "60"


def test_a_refusal_after_an_unanswered_call_is_not_believed(
    service: PaymentService, bank: RunningSandbox, clock: Clock
) -> None:
    bank.order("drop_after")
    bank.order("refused")
    told = service.pay("key")
    assert _seen(told) == "504 unknown"
    bank.order("refused")
    again = service.pay("key")
    assert _seen(again) == "504 unknown"
    assert _payment(again)["payment_id"] == _payment(told)["payment_id"]
    clock.advance(60)
    service.office.reconcile()
    assert _now(service, told)["state"] == "accepted"
    assert len(bank.books.bookings()) == 1


def test_after_five_failures_a_dead_bank_is_told_at_once(
    serve: Serve, bank: RunningSandbox
) -> None:
    service = serve(bank.settings(base_url="http://localhost:9"), breaker_failures=5)
    for key in ("a", "b"):
        assert service.pay(key).status_code == 503
    answer = service.pay("c")
    assert answer.status_code == 503
    assert "failed several times in a row" in answer.json()["error"]
    assert 50 <= int(answer.headers["retry-after"]) <= 60
    assert "payment" not in answer.json()


def _is_unavailable(answer: httpx.Response) -> str:
    """The sentence of a 503 that says that nothing moved, with the payment as recorded."""
    assert _seen(answer) == "503 recorded"
    error: str = answer.json()["error"]
    assert "No money moved" in error
    return error
