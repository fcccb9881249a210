"""Every bad request gets its status, in the one shape of error, and the service goes on."""

import http.client
import json
from collections import Counter
from contextlib import suppress

import httpx
from bad_inputs import BadInput, bad_inputs
from conftest import Running


def test_every_bad_input_gets_its_status_and_one_sentence(running: Running) -> None:
    wrong: list[str] = []
    tried: Counter[int] = Counter()
    for case in bad_inputs():
        tried[case.status] += 1
        status, kind, body = _send(running.url, case)
        problem = json.loads(body) if kind == "application/problem+json" else {}
        shaped = bool(problem.get("error")) and problem["error"] == problem["detail"]
        told = "\n" not in problem.get("error", "\n") and "Traceback" not in body
        if status != case.status or not shaped or not told:
            wrong.append(f"{case.name}: {status}, expected {case.status}: {body[:200]}")
    print(f"{tried.total()} bad inputs: {dict(tried)}")  # noqa: T201 (the count)
    assert wrong == []
    assert tried.total() >= 300
    assert httpx.get(f"{running.url}/health").status_code == 200


def _send(url: str, case: BadInput) -> tuple[int, str, str]:
    # http.client sends what it is told, where a better client would put things right first.
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=30)
    try:
        connection.putrequest(
            case.method,
            case.path.replace(" ", "%20"),
            skip_host="Host" in case.headers,
            skip_accept_encoding=True,
        )
        headers = {"Content-Length": str(len(case.body)), **case.headers}
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        if case.body:
            # The answer may come, and the connection close, before all is sent.
            with suppress(OSError):
                connection.send(case.body)
        answer = connection.getresponse()
        return answer.status, answer.headers["content-type"], answer.read().decode()
    finally:
        connection.close()
