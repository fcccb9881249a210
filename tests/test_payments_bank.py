"""The bank's client on real sockets: tokens, deadlines, repeats, and secrets that stay secret."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from payments_bank import RunningSandbox, a_payment
from sqlalchemy import Engine, select

from paydesk.payments.answers import InDoubt, Initiated, NotKnown, NotSent, Refused, Taken
from paydesk.payments.bank import BankClient
from paydesk.payments.errors import BankUnavailableError
from paydesk.payments.instruction import instruction
from paydesk.payments.office import PaymentOffice
from paydesk.payments.sandbox import CLIENT_SECRET, sandbox_settings
from paydesk.settings import BankSettings
from paydesk.storage import tables

pytest_plugins = ["payments_fixtures"]

_SAYS_SO = "X-Paydesk-Sandbox: true\r\n"
_TOKEN = json.dumps({"access_token": "a-token", "token_type": "Bearer", "expires_in": 300}).encode()


def _send(client: BankClient, bank: BankSettings, key: str = "key") -> Initiated:
    content = instruction(a_payment(), bank, "payment-1", datetime(2026, 3, 14, tzinfo=UTC))
    return client.initiate(content, key, "request-1")


@contextmanager
def _listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server on a bare socket: `serve` gets each connection, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        over = threading.Event()

        def accept() -> None:
            with ThreadPoolExecutor(8) as threads:
                while not over.is_set():
                    try:
                        connection, _ = listener.accept()
                    except TimeoutError:
                        continue
                    threads.submit(serve, connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


def _request(connection: socket.socket) -> bytes:
    """One whole request; empty when the client has hung up."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (chunk := connection.recv(65_536)):
            return b""
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


def _answer(connection: socket.socket, status: str, body: bytes, headers: str = "") -> None:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    connection.sendall(head.encode() + body)
    connection.close()


def test_what_goes_over_the_wire_is_what_the_bank_documents() -> None:
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen.append(_request(connection))
        if b"/oidc/token" in seen[-1]:
            _answer(connection, "200 OK", _TOKEN, _SAYS_SO)
        else:
            _answer(connection, "200 OK", b'{"paymentRequestId":"p","transactionStatus":"PDNG"}')

    with _listening(serve) as url:
        bank = sandbox_settings(url)
        client = BankClient(bank)
        assert _send(client, bank, "k" * 40) == Taken(
            "p", "PDNG", {"paymentRequestId": "p", "transactionStatus": "PDNG"}
        )
        client.close()
    token, initiate = seen
    assert token.startswith(b"POST /login/v1/sandbox/oidc/token HTTP/1.1\r\n")
    assert b"Content-Type: application/x-www-form-urlencoded\r\n" in token
    assert token.endswith(
        b"grant_type=client_credentials&client_id=sandbox&client_secret=sandbox-secret"
    )
    assert initiate.startswith(
        b"POST /payment/payment-initiation/v1/credit-transfer/international/initiate HTTP/1.1\r\n"
    )
    for header in (
        b"Authorization: Bearer a-token",
        b"Idempotency-Key: " + b"k" * 40,
        b"X-Request-ID: request-1",
        b"Content-Type: application/json",
    ):
        assert header + b"\r\n" in initiate
    assert b'"instructedAmount":{"amount":100.00,"currency":"EUR"}' in initiate


def test_one_token_serves_all_threads(bank: RunningSandbox) -> None:
    client = BankClient(bank.settings())
    before = bank.books.tokens_given
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda n: _send(client, bank.settings(), f"key-{n}"), range(10)))
    assert all(isinstance(answer, Taken) for answer in answers)
    assert bank.books.tokens_given == before + 1
    client.close()


def test_a_token_is_renewed_before_it_ends(bank: RunningSandbox) -> None:
    bank.token_life_s(1.0)  # Renewed at half of so short a life.
    client = BankClient(bank.settings())
    before = bank.books.tokens_given
    _send(client, bank.settings(), "a")
    _send(client, bank.settings(), "b")
    assert bank.books.tokens_given == before + 1
    time.sleep(0.6)
    _send(client, bank.settings(), "c")
    assert bank.books.tokens_given == before + 2
    client.close()


def test_a_401_costs_one_new_token_and_no_more(bank: RunningSandbox) -> None:
    client = BankClient(bank.settings())
    before = bank.books.tokens_given
    bank.order("expired_token")
    assert isinstance(_send(client, bank.settings()), Taken)
    assert bank.books.tokens_given == before + 2
    bank.order("expired_token", times=2)
    answer = _send(client, bank.settings(), "key-2")
    assert answer == NotSent("it refuses Paydesk's token", 60)
    assert bank.books.tokens_given == before + 3
    client.close()


_DRIPPED = {
    "headers": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
    "a header after another": (b"HTTP/1.1 200 OK\r\n", b"X-Slow: x\r\n"),
    "body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" "),
    "body to the end": (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" "),
}


@pytest.mark.parametrize("part", _DRIPPED)
def test_a_bank_that_drips_its_answer_does_not_hold_a_payment_forever(part: str) -> None:
    first, drop = _DRIPPED[part]

    def serve(connection: socket.socket) -> None:
        if b"/oidc/token" in _request(connection):
            return _answer(connection, "200 OK", _TOKEN, _SAYS_SO)
        try:
            connection.sendall(first)
            for _ in range(100):
                time.sleep(0.1)
                connection.sendall(drop)
        except OSError:
            connection.close()
        return None

    with _listening(serve) as url:
        bank = sandbox_settings(url, read_timeout_s=0.5, deadline_s=1.0)
        client = BankClient(bank)
        began = time.monotonic()
        answer = _send(client, bank)
        assert time.monotonic() - began < 1.5
        assert isinstance(answer, InDoubt)
        assert answer.reason == "no whole answer in time"
        client.close()


def test_a_tls_handshake_that_drips_ends_too() -> None:
    def serve(connection: socket.socket) -> None:
        try:
            connection.recv(65_536)
            connection.sendall(b"\x16\x03\x03\x40\x00")  # A record of 16 KiB begins.
            for _ in range(100):
                time.sleep(0.1)
                connection.sendall(b"\x02")
        except OSError:
            connection.close()

    with _listening(serve) as url:
        bank = sandbox_settings(
            url.replace("http://", "https://"),
            connect_timeout_s=0.5,
            read_timeout_s=0.5,
            deadline_s=1.0,
        )
        client = BankClient(bank)
        began = time.monotonic()
        assert isinstance(_send(client, bank), NotSent)  # It was the token that was asked for.
        assert time.monotonic() - began < 1.5
        client.close()


def test_a_connection_kept_for_later_outlives_the_deadline_of_its_last_call(
    bank: RunningSandbox,
) -> None:
    settings = bank.settings(deadline_s=0.5)
    client = BankClient(settings)
    for key in ("a", "b"):
        assert isinstance(_send(client, settings, key), Taken)
        time.sleep(0.7)
    client.close()


@pytest.mark.parametrize(
    ("sandbox", "says_so", "told"),
    [
        (True, "", "does not say that it is the sandbox"),
        (False, _SAYS_SO, "says that it is a sandbox"),
    ],
)
def test_what_the_settings_say_of_the_sandbox_the_bank_has_to_say_too(
    sandbox: bool, says_so: str, told: str
) -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(_request(connection))
        _answer(connection, "200 OK", _TOKEN, says_so)

    with _listening(serve) as url:
        bank = sandbox_settings(url, sandbox=sandbox)
        client = BankClient(bank)
        answer = _send(client, bank)
        assert isinstance(answer, NotSent)
        assert told in answer.reason
        client.close()
    assert all(b"/oidc/token" in request for request in asked)


def test_a_sandbox_that_answers_for_a_real_bank_is_not_believed() -> None:
    def serve(connection: socket.socket) -> None:
        if b"/oidc/token" in _request(connection):
            return _answer(connection, "200 OK", _TOKEN)
        taken = b'{"paymentRequestId":"p","transactionStatus":"PDNG"}'
        return _answer(connection, "200 OK", taken, _SAYS_SO)

    with _listening(serve) as url:
        bank = sandbox_settings(url, sandbox=False)
        client = BankClient(bank, tries=1)
        assert isinstance(_send(client, bank), InDoubt)
        client.close()


@pytest.mark.parametrize("request_id", ["bad\xa0id", "", "x" * 65, "a\r\nb"])
def test_a_request_id_that_no_header_carries_is_replaced(
    bank: RunningSandbox, request_id: str
) -> None:
    client = BankClient(bank.settings(), breaker_failures=2)
    content = instruction(a_payment(), bank.settings(), "payment-1", datetime.now(UTC))
    for number in range(3):
        assert isinstance(client.initiate(content, f"key-{number}", request_id), Taken)
    client.close()


def test_a_request_that_cannot_be_built_is_not_sent_and_no_sign_of_a_dead_bank(
    bank: RunningSandbox,
) -> None:
    client = BankClient(bank.settings(), breaker_failures=1, tries=1)
    answer = _send(client, bank.settings(), "no\nkey")
    assert isinstance(answer, NotSent)
    assert "cannot be built" in answer.reason
    assert client.dead_for_s == 0
    assert isinstance(_send(client, bank.settings(), "good"), Taken)
    client.close()


def test_one_payment_that_the_bank_stumbles_over_does_not_stop_the_others(
    bank: RunningSandbox,
) -> None:
    client = BankClient(bank.settings(), breaker_failures=2, breaker_recovery_s=60)
    for _ in range(3):
        bank.order("error_before", times=3)
        assert isinstance(_send(client, bank.settings(), "bad"), InDoubt)
    assert client.dead_for_s == 0
    assert isinstance(_send(client, bank.settings(), "good"), Taken)
    bank.order("error_before", times=2)
    one_try = BankClient(bank.settings(), breaker_failures=2, breaker_recovery_s=60, tries=1)
    for key in ("another bad", "and another"):
        assert isinstance(_send(one_try, bank.settings(), key), InDoubt)
    assert one_try.dead_for_s > 0
    client.close()
    one_try.close()


@pytest.mark.parametrize("reference", ["a\0b", "a b", "", "\u202e", "r" * 141])
@pytest.mark.parametrize("member", ["paymentRequestId", "transactionStatus"])
def test_a_reference_or_status_that_cannot_be_written_down_is_no_answer(
    member: str, reference: str
) -> None:
    def serve(connection: socket.socket) -> None:
        if b"/oidc/token" in _request(connection):
            return _answer(connection, "200 OK", _TOKEN, _SAYS_SO)
        answer = {"paymentRequestId": "p", "transactionStatus": "PDNG", member: reference}
        return _answer(connection, "200 OK", json.dumps(answer).encode())

    with _listening(serve) as url:
        bank = sandbox_settings(url)
        client = BankClient(bank, tries=1)
        assert isinstance(_send(client, bank), InDoubt)
        client.close()


def test_a_proxys_password_is_in_no_repr() -> None:
    bank = sandbox_settings("http://localhost", proxy="http://me:hush@proxy:3128")
    assert "hush" not in repr(bank)


def test_an_answer_without_end_is_cut_off() -> None:
    def serve(connection: socket.socket) -> None:
        if b"/oidc/token" in _request(connection):
            return _answer(connection, "200 OK", _TOKEN, _SAYS_SO)
        return _answer(connection, "200 OK", b"[" * (2 << 20))

    with _listening(serve) as url:
        bank = sandbox_settings(url)
        client = BankClient(bank, tries=1)
        assert isinstance(_send(client, bank), InDoubt)
        client.close()


@pytest.mark.parametrize(("more", "kept"), [(0, True), (1, False)])
def test_of_the_banks_answer_64_kib_are_kept_at_most(engine: Engine, more: int, kept: bool) -> None:
    taken = {"paymentRequestId": "p", "transactionStatus": "PDNG", "advert": ""}
    taken["advert"] = "x" * (65_536 - len(json.dumps(taken)) + more)

    def serve(connection: socket.socket) -> None:
        if b"/oidc/token" in _request(connection):
            return _answer(connection, "200 OK", _TOKEN, _SAYS_SO)
        return _answer(connection, "200 OK", json.dumps(taken).encode(), _SAYS_SO)

    with _listening(serve) as url:
        office = PaymentOffice(engine, sandbox_settings(url))
        paid = office.pay(a_payment(), "key", "r").payment
        office.close()
    # However long it is, the payment is made, and what the ledger needs of it is there.
    assert (paid.state, paid.bank_reference, paid.bank_status) == ("accepted", "p", "PDNG")
    omitted = {"omitted": "65537 characters; 65536 are kept at most"}
    assert paid.bank == (taken if kept else omitted)
    with engine.connect() as connection:
        (stored,) = connection.execute(select(tables.payments.c.bank_answer)).scalars()
    assert len(stored) <= 65_536


def test_a_redirect_is_not_followed() -> None:
    asked: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        asked.append(_request(connection).split(b" ")[1])
        if b"token" in asked[-1]:
            return _answer(connection, "200 OK", _TOKEN, _SAYS_SO)
        return _answer(connection, "307 Moved", b"", "Location: /elsewhere\r\n")

    with _listening(serve) as url:
        bank = sandbox_settings(url)
        client = BankClient(bank, tries=1)
        assert _send(client, bank) == InDoubt("it answered 307", 1)
        client.close()
    assert b"/elsewhere" not in asked


def test_a_longer_retry_after_is_told_and_not_waited_for() -> None:
    def serve(connection: socket.socket) -> None:
        if b"/oidc/token" in _request(connection):
            return _answer(connection, "200 OK", _TOKEN, _SAYS_SO)
        return _answer(connection, "429 Too Many", b"{}", "Retry-After: 17\r\n")

    with _listening(serve) as url:
        bank = sandbox_settings(url)
        client = BankClient(bank)
        assert _send(client, bank) == NotSent("it asks for fewer requests (429)", 17)
        client.close()


def test_a_definite_no_is_not_tried_again(bank: RunningSandbox) -> None:
    client = BankClient(bank.settings())
    bank.order("refused")
    assert isinstance(_send(client, bank.settings()), Refused)
    assert bank.books.bookings() == []
    client.close()


def test_a_status_that_the_bank_does_not_know_is_told_apart(bank: RunningSandbox) -> None:
    client = BankClient(bank.settings())
    assert client.status("no such/reference?", "r") == NotKnown()
    client.close()


def test_secrets_are_in_no_log_no_error_and_no_repr(
    bank: RunningSandbox, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    for fault, call in (("half_answer", "token"), ("refused", "initiate"), ("no_json", "token")):
        office = PaymentOffice(engine, bank.settings())
        bank.order(fault, call, times=3)  # type: ignore[arg-type]
        try:
            office.pay(a_payment(), f"key {fault} {call}", "r")
        except Exception as error:  # noqa: BLE001
            told += [str(error), repr(error)]
        told += [repr(office), repr(vars(office)), repr(bank.settings())]
        office.close()
        bank.faults.clear()
    office = PaymentOffice(engine, bank.settings())
    told.append(office.pay(a_payment(), "key", "r").payment.model_dump_json())
    office.close()
    everything = "\n".join([*told, *(record.getMessage() for record in caplog.records)])
    assert len(told) > 10
    assert CLIENT_SECRET not in everything
    assert not [token for token in bank.books.tokens() if token in everything]


def test_a_bank_that_repeats_the_secret_is_not_quoted_with_it(engine: Engine) -> None:
    def serve(connection: socket.socket) -> None:
        if b"/oidc/token" in _request(connection):
            return _answer(connection, "200 OK", _TOKEN, _SAYS_SO)
        problem = json.dumps({"title": "no", "detail": f"your secret is {CLIENT_SECRET}"})
        return _answer(connection, "422 No", problem.encode())

    with _listening(serve) as url:
        bank = sandbox_settings(url)
        client = BankClient(bank)
        answer = _send(client, bank)
        assert isinstance(answer, Refused)
        assert answer.reason == "it answered 422: no: your secret is ***"
        client.close()


def test_a_dead_bank_is_told_within_a_second_once_the_breaker_is_open(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # Accepts, and never answers.
        bank = sandbox_settings(
            f"http://127.0.0.1:{deaf.getsockname()[1]}", read_timeout_s=0.2, deadline_s=5.0
        )
        office = PaymentOffice(
            engine, bank, client=BankClient(bank, breaker_failures=3, breaker_recovery_s=60)
        )
        with pytest.raises(BankUnavailableError):
            office.pay(a_payment(), "key", "r")
        for key in ("another", "key"):
            began = time.monotonic()
            with pytest.raises(BankUnavailableError) as told:
                office.pay(a_payment(), key, "r")
            assert time.monotonic() - began < 1.0
            assert told.value.retry_after_s > 50
        office.close()


def test_when_the_bank_is_back_one_call_at_a_time_tries_it(bank: RunningSandbox) -> None:
    client = BankClient(bank.settings(), tries=1, breaker_failures=2, breaker_recovery_s=0.3)
    bank.order("error_before", times=2)
    assert isinstance(_send(client, bank.settings(), "a"), InDoubt)
    assert isinstance(_send(client, bank.settings(), "b"), InDoubt)
    assert client.dead_for_s >= 1
    assert isinstance(_send(client, bank.settings()), NotSent)
    time.sleep(0.4)
    assert client.dead_for_s == 0
    bank.order("slow", times=1)
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda n: _send(client, bank.settings(), f"key-{n}"), range(4)))
    assert [type(answer) for answer in answers].count(Taken) == 1
    assert [type(answer) for answer in answers].count(NotSent) == 3
    assert isinstance(_send(client, bank.settings()), Taken)
    client.close()
