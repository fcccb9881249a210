"""What operators see: logs without secrets, metrics over all workers, ids, and a graceful stop."""

import re
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from conftest import Running, Trained
from service_process import Service


def metric(page: str, name: str, **labels: str) -> float:
    """The sum of a metric's values whose labels are these."""
    total = 0.0
    for line in page.splitlines():
        found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
            total += float(found[2])
    return total


def test_metrics_count_over_all_workers_by_template(trained: Trained, tmp_path: Path) -> None:
    with Service(trained, tmp_path, workers=2) as service:

        def score(n: int) -> None:
            # A connection each: the kernel spreads them over the workers.
            answer = httpx.post(f"{service.url}/score", json={"amount": 4500.0, "tx_id": f"m{n}"})
            assert answer.status_code == 200
            httpx.get(f"{service.url}/transaction/m{n}")

        with ThreadPoolExecutor(8) as callers:
            list(callers.map(score, range(120)))
        httpx.post(f"{service.url}/score", content=b"{")
        httpx.get(f"{service.url}/no/such/path")
        httpx.request("PROPFIND", f"{service.url}/score")
        files = list((service.home / "metrics").rglob("counter_*.db"))
        assert len(files) == 2  # both workers took part
        time.sleep(0.5)  # The workers write what they counted four times a second.
        for _ in range(6):  # whichever worker answers
            page = httpx.get(f"{service.url}/metrics").text
            requests = "paydesk_http_requests_total"
            assert metric(page, requests, route="/score", status="200") == 120
            assert metric(page, requests, route="/transaction/{tx_id}") == 120
            assert metric(page, requests, route="/score", status="400") == 1
            assert metric(page, requests, route="(none)", status="404") == 1
            assert metric(page, requests, method="OTHER", status="405") == 1
            assert metric(page, "paydesk_decisions_total") == 120
            assert metric(page, "paydesk_fraud_probability_ratio_count") == 120
            assert (
                metric(page, "paydesk_http_request_duration_seconds_count", route="/score") == 122
            )
            assert metric(page, "paydesk_decision_log_commit_duration_seconds_count") > 0
            assert metric(page, "paydesk_decision_log_queue_depth") == 0
            assert metric(page, "paydesk_model_info", model="risk", version="1") == 1
        assert "m1" not in page  # no id becomes a time series


def test_a_second_server_of_the_same_home_leaves_the_first_ones_metrics(
    trained: Trained, tmp_path: Path
) -> None:
    with Service(trained, tmp_path, workers=1) as first:
        httpx.post(f"{first.url}/score", json={"amount": 1})
        with Service(trained, tmp_path, workers=1) as second:
            httpx.post(f"{second.url}/score", json={"amount": 1})
            for service in (first, second):
                page = httpx.get(f"{service.url}/metrics").text
                assert metric(page, "paydesk_decisions_total") == 1


def test_payments_are_counted_by_state(running: Running) -> None:
    body = {"accountA": "Metric Ltd", "accountB": "Contoso", "amount": 3}
    assert httpx.post(f"{running.url}/payment", json=body, timeout=30).status_code in {201, 409}
    page = httpx.get(f"{running.url}/metrics").text
    assert metric(page, "paydesk_payments", state="accepted") >= 1


def test_a_request_id_is_taken_over_if_sane_and_is_in_answer_problem_and_log(
    trained: Trained, tmp_path: Path
) -> None:
    with Service(trained, tmp_path, workers=1) as service:
        given = {"X-Request-ID": "order-17.a_B"}
        assert (
            httpx.get(f"{service.url}/stats", headers=given).headers["x-request-id"]
            == "order-17.a_B"
        )
        problem = httpx.get(f"{service.url}/nope", headers=given)
        assert problem.json()["request_id"] == "order-17.a_B"
        for insane in ("a b", "x" * 65, "joe@example.com", 'a"b', "", "a\tb"):
            answer = httpx.get(f"{service.url}/hello", headers={"X-Request-ID": insane})
            assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    lines = [line for line in service.lines() if line.get("request_id") == "order-17.a_B"]
    assert [(line["route"], line["status"]) for line in lines] == [("/stats", 200), ("(none)", 404)]
    assert "joe@example.com" not in service.log.read_text("utf-8")


@pytest.mark.parametrize(
    "path", ["/", "/health", "/nope", "/docs", "/openapi.json", "/desk/desk.css"]
)
def test_every_answer_carries_the_headers_that_guard_it(running: Running, path: str) -> None:
    headers = httpx.get(f"{running.url}{path}").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "server" not in headers


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_load_nothing_from_elsewhere(running: Running, path: str) -> None:
    page = httpx.get(f"{running.url}{path}", headers={"Accept": "text/html"}).text
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on[a-z]+=", page)
    assert re.findall(r'(?:src|href)="([^"]+)"', page)
    assert all(link[0] in "/#" for link in re.findall(r'(?:src|href)="([^"]+)"', page))


def test_head_is_get_without_a_body_and_options_names_the_methods(running: Running) -> None:
    for path in ("/", "/health", "/stats", "/openapi.json"):
        got, head = httpx.get(f"{running.url}{path}"), httpx.head(f"{running.url}{path}")
        assert (head.status_code, head.text) == (200, "")
        if path != "/stats":
            assert head.headers["content-length"] == str(len(got.content))
    assert httpx.head(f"{running.url}/score").status_code == 405
    answer = httpx.options(f"{running.url}/score")
    assert (answer.status_code, answer.headers["allow"]) == (204, "POST, OPTIONS")
    assert httpx.options(f"{running.url}/stats").headers["allow"] == "GET, HEAD, OPTIONS"
    assert httpx.options(f"{running.url}/nope").status_code == 404


def test_bodies_are_read_as_json_whatever_they_are_called(running: Running) -> None:
    for kind in (
        "application/json",
        "application/json; charset=UTF-8",
        'application/json; charset="utf-8"',
        "application/x-www-form-urlencoded",  # what curl -d sends
        "text/plain",
        "application/xml",
        "",
    ):
        answer = httpx.post(
            f"{running.url}/score", content=b'{"amount": 1}', headers={"Content-Type": kind}
        )
        assert answer.status_code == 200, kind
    bare = httpx.Request("POST", f"{running.url}/score", content=b'{"amount": 1}')
    assert "content-type" not in bare.headers
    with httpx.Client() as client:
        assert client.send(bare).status_code == 200


def test_whole_numbers_keep_their_digits(running: Running) -> None:
    body = b'{"n": 123456789012345678901234567890, "deep": {"n": [-98765432109876543210]}}'
    answer = httpx.post(f"{running.url}/echo", content=body).json()
    assert answer["received"]["n"] == 123456789012345678901234567890
    assert answer["received"]["deep"]["n"] == [-98765432109876543210]
    scored = httpx.post(
        f"{running.url}/score", content=b'{"amount": 1, "tx_id": 12345678901234567890123}'
    )
    assert scored.json()["tx_id"] == "12345678901234567890123"


def test_a_sigterm_answers_and_commits_what_was_accepted_and_exits_0(
    trained: Trained, tmp_path: Path
) -> None:
    with Service(trained, tmp_path, workers=2) as service:
        acknowledged: list[str] = []
        broken: list[str] = []
        stop = threading.Event()

        def score() -> None:
            while not stop.is_set():
                try:
                    answer = httpx.post(f"{service.url}/score", json={"amount": 1}, timeout=30)
                    acknowledged.append(answer.json()["decision_id"])
                except httpx.ConnectError:
                    return
                except httpx.TransportError as error:
                    broken.append(repr(error))
                    return

        clients = [threading.Thread(target=score) for _ in range(8)]
        # A body of which half is there when the signal comes: accepted, so it is answered.
        half = socket.create_connection(("127.0.0.1", service.port))
        half.sendall(b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 13\r\n\r\n{")
        for client in clients:
            client.start()
        time.sleep(1.5)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        half.sendall(b'"amount": 1}')
        assert half.recv(65_536).startswith(b"HTTP/1.1 200")
        half.close()
        assert service.process.wait(30) == 0
        stop.set()
        for client in clients:
            client.join()
    with Service(trained, tmp_path, workers=1) as again:
        total = httpx.get(f"{again.url}/stats").json()["total"]
    print(f"{len(acknowledged)} acknowledged, {total} in the log, broken {broken}")  # noqa: T201
    assert acknowledged
    # Connections that no worker had taken yet are broken; nothing of theirs was begun.
    assert total == len(acknowledged) + 1
    assert "Traceback" not in service.log.read_text("utf-8")
