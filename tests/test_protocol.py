"""The head of a request over raw sockets: bounded in bytes, headers and seconds; else as it was."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest
from conftest import Running, Trained
from service_process import Service

from paydesk.web.protocol import HEAD_LIMIT, MOST_HEADERS

GET = b"GET /hello HTTP/1.1\r\nHost: 127.0.0.1\r\n"
MEGABYTE = b"x" * 1_000_000


@pytest.fixture(scope="module")
def service(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(trained, tmp_path_factory.mktemp("protocol"), workers=1) as service:
        yield service


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=25)


def said(connection: socket.socket) -> bytes:
    """Everything until the server closes."""
    parts = []
    with suppress(ConnectionError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def sent(port: int, *parts: bytes) -> bytes:
    """What comes back for `parts`, until the server closes."""
    with connected(port) as connection:
        with suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
        return said(connection)


def refusal(answer: bytes, status: int) -> dict[str, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} ")
    assert "content-type: application/problem+json" in lines
    assert "connection: close" in lines
    assert "x-content-type-options: nosniff" in lines
    problem: dict[str, Any] = json.loads(body)
    assert problem["status"] == status
    assert f"x-request-id: {problem['request_id']}" in lines
    assert problem["error"] == problem["detail"]
    return problem


def memory(service: Service) -> int:
    processes = service.processes()
    return max(process.memory_info().rss for process in processes)


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (431, [GET, b"X: ", *[MEGABYTE] * 60]),
        (431, [GET, *[b"X-%d: y\r\n" % n * 1_000 for n in range(60)], MEGABYTE]),
        (431, [GET, b"X: " + b"x" * HEAD_LIMIT + b"\r\n\r\n"]),
        (431, [GET + b"X: y\r\n" * MOST_HEADERS + b"\r\n"]),
        (431, [b"GET /", b" HTTP/1.1\r\n", b"x" * HEAD_LIMIT, b"x" * HEAD_LIMIT]),
        (414, [b"GET /", *[MEGABYTE] * 60]),
        (414, [b"GET /" + b"x" * HEAD_LIMIT + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]),
        (414, [b"GET /?a=" + b"x" * HEAD_LIMIT, b"x" * HEAD_LIMIT]),
        (400, [b"GET / HTTP/9.9\r\n\r\n"]),
        (400, [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]),
    ],
)
def test_a_head_that_is_too_long_is_refused_and_not_kept(
    service: Service, status: int, parts: list[bytes]
) -> None:
    before = memory(service)
    refusal(sent(service.port, *parts), status)
    assert memory(service) - before < 30_000_000
    assert httpx.get(f"{service.url}/livez").status_code == 200


def test_many_long_heads_at_once_hold_up_nobody(service: Service) -> None:
    before = memory(service)
    with ThreadPoolExecutor(16) as senders:
        flood = [
            senders.submit(sent, service.port, GET, b"X: ", *[MEGABYTE] * 10) for _ in range(64)
        ]
        took = []
        while not all(sender.done() for sender in flood):
            began = time.monotonic()
            assert httpx.get(f"{service.url}/livez").status_code == 200
            took.append(time.monotonic() - began)
    assert max(took) < 3
    assert memory(service) - before < 60_000_000


def test_a_head_of_just_the_size_passes(service: Service) -> None:
    rest = b"".join(b"X-%d: %s\r\n" % (n, b"y" * 300) for n in range(90))
    end = b"Connection: close\r\n\r\n"
    for parts in ([GET + rest + end], [GET, rest[:9_000], rest[9_000:], end]):
        assert sent(service.port, *parts).endswith(b"\r\n\r\nHello, stranger!")


def test_trailers_and_chunk_extensions_have_an_end(service: Service) -> None:
    head = b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    before = memory(service)
    refusal(sent(service.port, head, b"2\r\n{}\r\n0\r\n", b"X: ", *[MEGABYTE] * 60), 431)
    refusal(sent(service.port, head, b"2;", *[MEGABYTE] * 60), 431)
    refusal(sent(service.port, head, b"2\r\n{}\r\nno chunk\r\n"), 400)
    assert memory(service) - before < 30_000_000


def test_a_head_that_does_not_come_in_time_is_408(service: Service) -> None:
    began = time.monotonic()

    def slow(first: bytes) -> tuple[bytes, float]:
        with connected(service.port) as connection:
            connection.sendall(first)
            with suppress(ConnectionError):
                for _ in range(9):  # a byte now and then gives no more time
                    time.sleep(1.5)
                    connection.sendall(first[:1])
            return said(connection), time.monotonic() - began

    with ThreadPoolExecutor(4) as senders:
        lines = senders.submit(slow, GET + b"X: ")
        address = senders.submit(slow, b"GET /hel")
        empty = senders.submit(slow, b"\r\n")
        nothing = senders.submit(sent, service.port)
    for sender in (lines, address):
        answer, seconds = sender.result()
        assert "15 s" in refusal(answer, 408)["error"]
        assert 14 < seconds < 18
    assert empty.result()[0] == b""
    assert nothing.result() == b""


def test_connections_are_kept_and_requests_sent_ahead_are_answered_in_order(
    service: Service,
) -> None:
    body = b'{"n": %d}'
    posts = [
        b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s"
        % (len(body % n), body % n)
        for n in range(100, 150)
    ]
    last = GET + b"Connection: close\r\n\r\n"
    whole = b"".join([*posts, last])
    for step in (len(whole), 997, 61):
        answers = sent(service.port, *[whole[at : at + step] for at in range(0, len(whole), step)])
        places = [answers.find(b'{"received":{"n":%d}' % n) for n in range(100, 150)]
        assert -1 not in places
        assert places == sorted(places)
        assert answers.endswith(b"Hello, stranger!")
    with httpx.Client(base_url=service.url) as client:
        large = {"text": "x" * 900_000}
        for _ in range(3):
            assert client.post("/echo", json=large).json()["received"] == large
            assert client.get("/hello").text == "Hello, stranger!"


def test_an_idle_connection_ends_as_before(service: Service) -> None:
    with connected(service.port) as connection:
        connection.sendall(GET + b"\r\n")
        began = time.monotonic()
        assert said(connection).endswith(b"Hello, stranger!")
        assert 4 < time.monotonic() - began < 8


def test_a_long_head_behind_a_request_does_not_spoil_its_answer(service: Service) -> None:
    answer = sent(service.port, GET + b"\r\n" + GET + b"X: ", *[MEGABYTE] * 5)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"Hello, stranger!" in answer


def test_an_upgrade_is_answered_as_the_plain_request_that_it_is(service: Service) -> None:
    upgrade = GET + b"Connection: Upgrade\r\nUpgrade: %s\r\n"
    key = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    for wanted in (upgrade % b"websocket" + key, upgrade % b"h2c" + b"\r\n"):
        answer = sent(service.port, wanted)
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"\r\nx-content-type-options: nosniff\r\n" in answer
        assert answer.endswith(b"Hello, stranger!")


def test_paydesk_serve_has_the_same_limits(running: Running) -> None:
    port = int(running.url.rpartition(":")[2])
    refusal(sent(port, GET, b"X: ", *[MEGABYTE] * 5), 431)
    refusal(sent(port, b"GET /", *[MEGABYTE] * 5), 414)
