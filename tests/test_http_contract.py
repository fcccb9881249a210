"""The HTTP contract, route by route, against the running service over a real socket."""

import base64
import json
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest
from conftest import Running, Trained, free_port, serving


def test_the_curl_lines_that_serve_prints_work_when_pasted(running: Running) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed: apt-get install curl")
    answers = []
    for line in running.curl_lines:
        done = subprocess.run(
            ["bash", "-c", line], capture_output=True, text=True, check=True, timeout=30
        )
        answers.append(json.loads(done.stdout))
    scored, read, paid = answers
    assert (scored["tx_id"], scored["risk_level"], scored["score"]) == ("TX003", "CRITICAL", 7)
    assert (read["amount"], read["currency"]) == ("1250.00", "EUR")
    assert paid["state"] == "accepted"
    assert paid["sandbox"] is True


def test_root_welcomes_clients_in_text_and_browsers_with_a_page(client: httpx.Client) -> None:
    plain = client.get("/")
    assert plain.status_code == 200
    assert plain.headers["content-type"].startswith("text/plain")
    assert plain.text == "Welcome to the transaction monitoring system!"
    page = client.get("/", headers={"Accept": "text/html,*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "Welcome to the transaction monitoring system!" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "'unsafe-inline'" not in page.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/hello?name=Anna", "Hello, Anna!"),
        ("/hello", "Hello, stranger!"),
        ("/hello?name=", "Hello, stranger!"),
    ],
)
def test_hello(client: httpx.Client, path: str, text: str) -> None:
    answer = client.get(path)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text == text


def test_status_and_health_name_the_models(client: httpx.Client) -> None:
    status = client.get("/status").json()
    assert (status["service"], status["status"]) == ("monitoring", "ok")
    assert status["bank"] == "sandbox"
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["version"] == status["version"]
    assert health["models"] == {"risk": "1", "entities": "1"}


def test_probes_of_bentoml_stay(client: httpx.Client) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200


def test_echo_counts_the_fields(client: httpx.Client) -> None:
    body = {"a": 1, "b": {"c": [None]}}
    assert client.post("/echo", json=body).json() == {"received": body, "field_count": 2}


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/echo", "POST"),
        ("GET", "/predict", "POST"),
        ("GET", "/score", "POST"),
        ("GET", "/payment", "POST"),
        ("POST", "/stats", "GET"),
        ("DELETE", "/score", "POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_one(
    client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert allowed in answer.headers["allow"]
    assert allowed in answer.json()["error"]
    _is_problem(answer, 405)


def test_an_unknown_path_is_a_problem(client: httpx.Client) -> None:
    _is_problem(client.get("/nope"), 404)


def test_a_transaction_is_found_after_it_was_scored_and_not_before(client: httpx.Client) -> None:
    tx_id = f"TX/{uuid.uuid4()}"
    before = client.get(f"/transaction/{tx_id}")
    assert before.status_code == 404
    assert before.json()["tx_id"] == tx_id
    assert before.json()["status"] == "not found"
    first = client.post("/score", json={"tx_id": tx_id, "amount": 10}).json()
    second = client.post("/score", json={"tx_id": tx_id, "amount": 5000, "hour": 2}).json()
    found = client.get(f"/transaction/{tx_id}").json()
    assert (found["tx_id"], found["status"]) == (tx_id, "found")
    assert found["decision_id"] == second["decision_id"] != first["decision_id"]
    assert found["score"] == 5


def test_stats_count_every_decision_and_high_ones(client: httpx.Client) -> None:
    before = client.get("/stats").json()
    client.post("/score", json={"amount": 10, "category": "food"})
    client.post("/score", json={"amount": 3500, "category": "food"})
    client.post("/score", json={"amount": 3500, "hour": 1, "category": "food"})
    after = client.get("/stats").json()
    assert after["total"] == before["total"] + 3
    assert after["high"] == before["high"] + 2
    assert after["total"] == sum(after["by_level"].values())


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ("{}", "Missing required field 'amount'"),
        ('{"tx_id": "x"}', "Missing required field 'amount'"),
        ('{"amount": -0.01}', "amount: "),
        ('{"amount": NaN}', "not valid JSON"),
        ('{"amount": Infinity}', "not valid JSON"),
        ('{"amount": 1e999}', ""),
        ('{"amount": "12"}', "amount: "),
        ('{"amount": true}', "amount: "),
        ('{"amount": null}', "amount: "),
        ('{"amount": [1]}', "amount: "),
        ('{"amount": 1, "hour": 24}', "hour: "),
        ('{"amount": 1, "hour": -1}', "hour: "),
        ('{"amount": 1, "hour": 1.5}', "hour: "),
        ('{"amount": 1, "timestamp": "soon"}', "timestamp: "),
        ("[1]", "one JSON object, not a list"),
        ('"text"', "one JSON object, not a text"),
        ("", "body is empty"),
        ("{", "not valid JSON"),
        ('{"amount": 1} trailing', "not valid JSON"),
    ],
)
def test_bad_transactions_are_refused_in_one_sentence(
    client: httpx.Client, body: str, error: str
) -> None:
    answer = client.post("/score", content=body, headers={"Content-Type": "application/json"})
    _is_problem(answer, 400)
    assert error in answer.json()["error"]


def test_defaults_of_a_transaction(client: httpx.Client) -> None:
    decision = client.post("/score", json={"amount": 10}).json()
    assert decision["tx_id"] == "unknown"
    assert decision["triggered_rules"] == []  # no hour means noon, not midnight
    night = client.post("/score", json={"amount": 10, "timestamp": "2026-03-01T02:30:00"}).json()
    assert night["triggered_rules"] == ["R3: night hour"]
    noon = client.post("/score", json={"amount": 10, "hour": None}).json()
    assert noon["triggered_rules"] == []


def test_a_body_over_the_limit_is_refused(client: httpx.Client) -> None:
    answer = client.post("/score", content=b'{"amount": 1, "x": "' + b"a" * 1_100_000 + b'"}')
    _is_problem(answer, 413)

    def parts() -> Iterator[bytes]:
        for _ in range(40):
            yield b"a" * 65_536

    assert client.post("/score", content=parts()).status_code == 413


def test_predict_gives_the_form_and_the_spans(client: httpx.Client) -> None:
    email = "Hello, please transfer 480.50 GBP to Harper Ltd. Thanks, Joan"
    reading = client.post("/predict", json={"email": email}).json()
    assert set(reading) >= {"amount", "currency", "accountA", "accountB", "entities"}
    for entity in reading["entities"]:
        assert email[entity["start"] : entity["end"]] == entity["text"]
        assert 0 <= entity["confidence"] <= 1


@pytest.mark.parametrize("body", [{}, {"email": ""}, {"email": 5}, {"email": None}])
def test_predict_without_a_text_is_refused(client: httpx.Client, body: dict[str, object]) -> None:
    _is_problem(client.post("/predict", json=body), 400)


def test_a_payment_is_made_once_and_looked_up(client: httpx.Client) -> None:
    key = str(uuid.uuid4())
    body = {"accountA": "Harper Ltd", "accountB": "Contoso GmbH", "amount": 12.34}
    first = client.post("/payment", json=body, headers={"Idempotency-Key": key})
    assert first.status_code == 201
    assert first.json()["amount"] == "12.34"
    assert first.json()["bank"]["transactionStatus"] == "PDNG"
    again = client.post("/payment", json=body, headers={"Idempotency-Key": key})
    assert again.json()["payment_id"] == first.json()["payment_id"]
    assert again.headers["idempotency-replayed"] == "true"
    other = client.post(
        "/payment", json={**body, "amount": 12.35}, headers={"Idempotency-Key": key}
    )
    _is_problem(other, 422)
    looked_up = client.get(f"/payment/{first.json()['payment_id']}").json()
    assert looked_up["state"] == "accepted"
    assert [event["state"] for event in looked_up["history"]] == ["recorded", "sent", "accepted"]
    listed = client.get("/payments?limit=5").json()["payments"]
    assert first.json()["payment_id"] in [payment["payment_id"] for payment in listed]


def test_a_review_is_what_the_payment_would_be_and_makes_none(client: httpx.Client) -> None:
    before = (client.get("/stats").json(), client.get("/payments").json())
    iban = "DE89 3704 0044 0532 0130 00"
    body = {"accountA": "Harper Ltd", "accountB": "Contoso GmbH", "creditorAccount": iban}
    reviewed = client.post("/review", json={**body, "amount": "9000.0", "currency": "eur"}).json()
    assert (reviewed["amount"], reviewed["currency"]) == ("9000.00", "EUR")
    assert reviewed["creditorAccount"] == "****3000"
    assert reviewed["triggered_rules"][0] == "R1: amount > 3000"
    assert reviewed["sandbox"] is True
    assert (client.get("/stats").json(), client.get("/payments").json()) == before
    past = client.post("/review", json={**body, "amount": 1, "executionDate": "2020-01-01"})
    _is_problem(past, 400)
    assert past.json()["errors"][0]["field"] == "executionDate"
    override = {"decision_id": "x", "reason": "because"}
    _is_problem(client.post("/review", json={**body, "amount": 1, "override": override}), 400)


def test_the_text_of_a_message_as_it_travels(client: httpx.Client) -> None:
    message = EmailMessage()
    message["Subject"] = "Zahlung für März"
    message.set_content("<p>Pay <b>Müller</b></p>\n", subtype="html", charset="iso-8859-1")
    message.add_attachment(b"x" * 5_000, maintype="application", subtype="pdf")
    raw = message.as_bytes()
    for content in (raw, raw[:-2_000]):  # whole, and with the end of its attachment missing
        body = {"message": base64.b64encode(content).decode()}
        read = client.post("/mail", json=body).json()
        assert read == {"text": "Subject: Zahlung für März\n\nPay Müller", "quoted_characters": 0}
    for wrong in ("", "====", "a", "not base64"):
        _is_problem(client.post("/mail", json={"message": wrong}), 400)
    torn = {"message": base64.b64encode(b"Subject: \xff\xfe\n\n\xff pay").decode()}
    assert "pay" in client.post("/mail", json=torn).json()["text"]


_COSTLY = {
    "a long subject": b"Subject: " + b"a " * 350_000,
    "encoded words": b"Subject: " + b"=?utf-8?q?a?= " * 50_000,
    "folded": b"Subject: " + b"a\r\n " * 170_000,
    "parameters": b"Content-Type: text/plain" + b"; a*1*=b" * 80_000,
    "comments": b"Content-Type: " + b"(" * 700_000,
    "headers": b"X: y\r\n" * 120_000,
    "parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\na\r\n" * 70_000,
    "parts in parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" * 14_000,
    "messages in messages": b"Content-Type: message/rfc822\r\n\r\n" * 22_000,
    "names": b"Content-Type: text/plain; charset=punycode\r\n\r\n-" + b"b" * 700_000,
    "an instruction": b"Content-Type: text/html\r\n\r\n<?xml" + b" " * 700_000,
    "attributes": b"Content-Type: text/html\r\n\r\n<a "
    + b"".join(b"a%d=1 " % n for n in range(70_000)),
    "paragraphs": b"Content-Type: text/html\r\n\r\n" + b"<p>a" * 170_000,
    "lines": b"\r\n" + b"a\n" * 350_000,
    "quoting": b"\r\nOp " + b"heeft " * 110_000,
}


@pytest.mark.parametrize("name", _COSTLY)
def test_a_message_made_to_cost_time_is_answered_in_time(client: httpx.Client, name: str) -> None:
    # What takes longer than the deadline is a 504, and what exhausts the stack a 500.
    raw = _COSTLY[name] + b"\r\n\r\nPay Ann\r\n"
    answer = client.post("/mail", json={"message": base64.b64encode(raw).decode()}, timeout=60)
    assert answer.status_code == 200, answer.text[:500]


def test_the_same_payment_without_a_key_is_a_duplicate(client: httpx.Client) -> None:
    body = {"accountA": f"Payee {uuid.uuid4().hex[:8]}", "accountB": "Payer", "amount": 7}
    assert client.post("/payment", json=body).status_code == 201
    again = client.post("/payment", json=body)
    _is_problem(again, 409)
    assert "Idempotency-Key" in again.json()["error"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -5}, "amount"),
        ({"amount": 1.234}, "amount"),
        ({"amount": "x"}, "amount"),
        ({"accountA": ""}, "accountA"),
        ({"currency": "XXQ"}, "currency"),
        ({"accountB": None}, "accountB"),
    ],
)
def test_a_payment_that_cannot_be_is_refused_with_the_field(
    client: httpx.Client, change: dict[str, object], field: str
) -> None:
    body = {"accountA": "Harper Ltd", "accountB": "Contoso", "amount": 5, **change}
    answer = client.post("/payment", json=body)
    _is_problem(answer, 400)
    assert answer.json()["errors"][0]["field"] == field


def test_unknown_payments_and_bad_cursors(client: httpx.Client) -> None:
    _is_problem(client.get("/payment/none"), 404)
    _is_problem(client.get("/payments?cursor=zzz"), 400)
    _is_problem(client.get("/payments?limit=x"), 400)


def _is_problem(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == status
    assert body["title"]
    assert body["error"] == body["detail"]
    assert "Traceback" not in answer.text


def test_a_risky_payment_is_held_until_a_person_says_why(trained: Trained, tmp_path: Path) -> None:
    held_from_medium = {"PAYDESK_HOLD_PAYMENTS_FROM": "MEDIUM"}
    with (
        serving(trained, tmp_path, free_port(), held_from_medium) as started,
        httpx.Client(base_url=started.url, timeout=30) as client,
    ):
        # R1 alone makes it HIGH, at any hour.
        body = {"accountA": "Harper Ltd", "accountB": "Contoso GmbH", "amount": "9000.00"}
        held = client.post("/payment", json=body, headers={"Idempotency-Key": "one"})
        _is_problem(held, 403)
        decision = held.json()["decision"]
        assert "R1: amount > 3000" in decision["triggered_rules"]
        assert client.get("/payments").json()["payments"] == []
        assert client.get(f"/transaction/{decision['tx_id']}").json()["status"] == "found"
        override = {"decision_id": decision["decision_id"], "reason": "the annual premium"}
        other = client.post("/payment", json={**body, "amount": "9001.00", "override": override})
        _is_problem(other, 422)
        paid = client.post(
            "/payment",
            json={**body, "override": override},
            headers={"Idempotency-Key": "one"},
        )
        assert paid.status_code == 201
        assert paid.json()["note"]["override"] == override
