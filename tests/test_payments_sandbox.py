"""The sandbox bank is a bank: contract, books that outlive it, and its name on every answer."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from payments_bank import RunningSandbox, a_payment, running_sandbox

from paydesk.payments.bank import SANDBOX_HEADER
from paydesk.payments.instruction import instruction
from paydesk.payments.sandbox import CLIENT_ID, CLIENT_SECRET, FAULT_HEADER
from paydesk.payments.sandbox_books import Books
from paydesk.payments.sandbox_faults import FAULTS, FaultPlan
from paydesk.settings import BankSettings

pytest_plugins = ["payments_fixtures"]

_PATHS = BankSettings()


class _Caller:
    """Speaks the bank's contract with plain requests, as any other client would."""

    def __init__(self, bank: RunningSandbox) -> None:
        self._bank = bank
        self._token = self.post_token().json()["access_token"]

    def post_token(self, **changes: str) -> requests.Response:
        form = {
            "grant_type": "client_credentials",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            **changes,
        }
        return requests.post(self._bank.url + _PATHS.token_path, data=form, timeout=10)

    def initiate(
        self, key: str = "key", body: bytes | None = None, **headers: str
    ) -> requests.Response:
        if body is None:
            at = datetime(2026, 3, 14, tzinfo=UTC)
            body = instruction(a_payment(), self._bank.settings(), "payment-1", at)
        sent = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": key, **headers}
        return requests.post(
            self._bank.url + _PATHS.initiate_path, data=body, headers=sent, timeout=10
        )

    def status(self, reference: str) -> requests.Response:
        path = _PATHS.status_path.replace("{id}", reference)
        headers = {"Authorization": f"Bearer {self._token}"}
        return requests.get(self._bank.url + path, headers=headers, timeout=10)


@pytest.fixture
def caller(bank: RunningSandbox) -> _Caller:
    return _Caller(bank)


def test_a_payment_goes_from_pending_to_settled(caller: _Caller) -> None:
    answer = caller.initiate()
    assert answer.status_code == 200
    content = answer.json()
    assert content.pop("paymentRequestId")
    assert content == {"transactionStatus": "PDNG", "sandbox": True}
    report = caller.status(answer.json()["paymentRequestId"]).json()
    assert report["paymentInitiationStatusReport"]["transactionStatus"] == "ACSC"


def test_a_replay_answers_201_with_the_first_answer(caller: _Caller, bank: RunningSandbox) -> None:
    first, again = caller.initiate(), caller.initiate()
    assert (first.status_code, again.status_code) == (200, 201)
    assert first.json() == again.json()
    assert len(bank.books.bookings()) == 1


def test_after_24_hours_a_key_books_anew() -> None:
    now = 0.0
    books = Books(":memory:", clock=lambda: now)
    body = b"""{
        "paymentIdentification": {"endToEndIdentification": "e"},
        "creditor": {"name": "A"}, "debtorAccountId": {"name": "B"},
        "instructedAmount": {"amount": 1.10, "currency": "EUR"}
    }"""
    assert books.book("key", body)[1] is False
    now = 86_399.0
    assert books.book("key", body)[1] is True
    now = 86_401.0
    assert books.book("key", body)[1] is False
    assert [booking.amount for booking in books.bookings()] == ["1.10", "1.10"]
    books.close()


@pytest.mark.parametrize(
    ("call", "status", "detail"),
    [
        (lambda c: c.initiate(Authorization="Bearer nonsense"), 401, "unknown or has expired"),
        (lambda c: c.initiate(Authorization="nonsense"), 401, "unknown or has expired"),
        (lambda c: c.initiate(key="k" * 41), 400, "1 to 40 characters"),
        (lambda c: c.initiate(key=""), 400, "1 to 40 characters"),
        (lambda c: c.initiate(body=b"{"), 400, "not the JSON expected"),
        (lambda c: c.initiate(body=b"[]"), 400, "valid dictionary"),
        (lambda c: c.initiate(body=b"{}"), 400, "initiatingParty: Field required"),
        (lambda c: c.status("no-such-payment"), 404, "no such payment"),
        (lambda c: c.initiate(**{FAULT_HEADER: "refused"}), 422, "refuses: 422"),
    ],
)
def test_a_refusal_is_an_rfc_7807_problem(
    caller: _Caller, call: Any, status: int, detail: str
) -> None:
    answer = call(caller)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers[SANDBOX_HEADER] == "true"
    problem = answer.json()
    assert problem["status"] == status
    assert detail in problem["detail"]
    assert problem["sandbox"] is True


def test_one_key_with_two_bodies_is_refused(caller: _Caller, bank: RunningSandbox) -> None:
    caller.initiate()
    at = datetime(2026, 3, 14, tzinfo=UTC)
    other = instruction(a_payment(amount=7), bank.settings(), "payment-1", at)
    assert caller.initiate(body=other).status_code == 422


def test_an_amount_in_text_is_against_the_contract(caller: _Caller, bank: RunningSandbox) -> None:
    at = datetime(2026, 3, 14, tzinfo=UTC)
    body = instruction(a_payment(), bank.settings(), "payment-1", at)
    refused = caller.initiate(body=body.replace(b'"amount":100.00', b'"amount":"100.00"'))
    assert "instructedAmount.amount" in refused.json()["detail"]


def test_wrong_credentials_get_no_token(caller: _Caller) -> None:
    assert caller.post_token(client_secret="wrong").status_code == 401
    assert caller.post_token(grant_type="password").json()["error"] == "invalid_client"


def test_everything_says_that_it_is_the_sandbox(caller: _Caller, bank: RunningSandbox) -> None:
    answers = [
        requests.get(bank.url, timeout=10),
        requests.get(f"{bank.url}/sandbox/books", timeout=10),
        requests.get(f"{bank.url}/sandbox/faults", timeout=10),
        requests.delete(f"{bank.url}/sandbox/faults", timeout=10),
        requests.get(f"{bank.url}/no/such/path", timeout=10),
        requests.get(bank.url + _PATHS.token_path, timeout=10),
        caller.post_token(),
        caller.initiate(),
        caller.status("nope"),
    ]
    for answer in answers:
        assert answer.headers[SANDBOX_HEADER] == "true", answer.url
        assert answer.json()["sandbox"] is True, answer.url


def test_faults_are_ordered_over_http(caller: _Caller, bank: RunningSandbox) -> None:
    url = f"{bank.url}/sandbox/faults"
    assert set(requests.get(url, timeout=10).json()["faults"]) == FAULTS.keys()
    order = {"fault": "error_before", "call": "initiate", "times": 2}
    assert requests.post(url, json=order, timeout=10).status_code == 200
    assert [caller.initiate().status_code for _ in range(3)] == [500, 500, 200]
    requests.post(url, json={"rate": 1.0}, timeout=10)
    assert bank.faults.rate == 1.0
    requests.delete(url, timeout=10)
    assert bank.faults.rate == 0.0


@pytest.mark.parametrize(
    "order",
    [
        {"fault": "nope"},
        {"fault": "refused", "call": "status"},
        {"rate": 2},
        {"times": 0},
        {"x": 1},
    ],
)
def test_an_order_that_makes_no_sense_is_refused(
    bank: RunningSandbox, order: dict[str, object]
) -> None:
    assert requests.post(f"{bank.url}/sandbox/faults", json=order, timeout=10).status_code == 400


def test_a_status_can_be_changed_from_outside(caller: _Caller, bank: RunningSandbox) -> None:
    reference = caller.initiate().json()["paymentRequestId"]
    url = f"{bank.url}/sandbox/books/{reference}"
    assert requests.put(url, json={"status": "RJCT"}, timeout=10).status_code == 200
    report = caller.status(reference).json()["paymentInitiationStatusReport"]
    assert report["transactionStatus"] == "RJCT"
    assert requests.put(url + "x", json={"status": "RJCT"}, timeout=10).status_code == 404


def test_the_books_outlive_the_bank(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as first:
        reference = _Caller(first).initiate().json()["paymentRequestId"]
    with running_sandbox(tmp_path) as again:
        assert [booking.reference for booking in again.books.bookings()] == [reference]
        assert _Caller(again).initiate().status_code == 201


def test_chance_is_as_the_seed_has_it_and_as_often_as_asked() -> None:
    plans = [FaultPlan(0.5, seed=7) for _ in range(2)]
    drawn = [[plan.next("initiate", None) for _ in range(1_000)] for plan in plans]
    assert drawn[0] == drawn[1]
    struck = [fault.name for fault in drawn[0] if fault is not None]
    assert 450 < len(struck) < 550
    assert set(struck) == FAULTS.keys()
    assert FaultPlan(0.0).next("initiate", None) is None
