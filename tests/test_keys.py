"""API keys: who may do what, told in one sentence; revoked within seconds; limited in rate."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import ROOT, Trained, free_port
from service_process import Service, new_key, paydesk
from sqlalchemy import insert, select

from paydesk.storage.database import open_database
from paydesk.storage.tables import api_keys
from paydesk.web.rate import Pace

NEEDS = {
    "score": [
        ("POST", "/score"),
        ("GET", "/stats"),
        ("GET", "/decisions"),
        ("GET", "/decisions/counts"),
        ("GET", "/transaction/x"),
    ],
    "read": [("POST", "/predict"), ("POST", "/mail")],
    "pay": [("POST", "/payment"), ("POST", "/review"), ("GET", "/payments"), ("GET", "/payment/x")],
    "any": [("GET", "/status"), ("GET", "/metrics"), ("POST", "/echo"), ("GET", "/schema.json")],
}
OPEN = ["/", "/hello", "/health", "/livez", "/readyz", "/openapi.json", "/docs", "/desk/desk.css"]


@pytest.fixture(scope="module")
def service(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    home = tmp_path_factory.mktemp("keys")
    settings = {
        "PAYDESK_ACCESS": "keys",
        "PAYDESK_RATE_LIMIT_PER_S": "40",
        "PAYDESK_ALLOWED_ORIGINS": "https://desk.example, chrome-extension://abc",
    }
    service = Service(trained, home, settings)
    new_key(service, "score")
    with service:
        yield service


def test_without_a_key_it_does_not_start_and_says_why(trained: Trained, tmp_path: Path) -> None:
    service = Service(trained, tmp_path, {"PAYDESK_ACCESS": "keys"}, workers=1)
    service.start()
    assert service.process.wait(60) == 1
    said = service.log.read_text("utf-8").splitlines()[-1]
    assert said.startswith("Error: Paydesk does not start without an API key")
    assert "paydesk keys new" in said
    assert "PAYDESK_ACCESS=anyone" in said
    assert "Traceback" not in service.log.read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAYDESK_ACCESS", "everybody"),
        ("PAYDESK_RATE_LIMIT_PER_S", "0"),
        ("PAYDESK_ALLOWED_ORIGINS", "*"),
        ("PAYDESK_BANK_READ_TIMEOUT_S", "soon"),
        ("PAYDESK_BANK_DEADLINE_S", "51"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_it(
    trained: Trained, tmp_path: Path, name: str, value: str
) -> None:
    service = Service(trained, tmp_path, {name: value}, workers=1)
    service.start()
    assert service.process.wait(60) == 1
    assert (
        service.log.read_text("utf-8").splitlines()[-1].startswith(f"Error: {name} cannot be used")
    )
    assert "Traceback" not in service.log.read_text("utf-8")


def test_each_scope_opens_its_routes_and_no_other(service: Service) -> None:
    for scope in ("score", "read", "pay"):
        key = new_key(service, scope)
        time.sleep(2.5)
        with service.client(key) as client:
            for need, routes in NEEDS.items():
                for method, path in routes:
                    status = client.request(method, path, content=b"{}").status_code
                    if need in {scope, "any"}:
                        assert status not in {401, 403}, (scope, path)
                    else:
                        assert status == 403, (scope, path)


def test_without_a_key_probes_and_documents_are_open_and_the_rest_is_not(service: Service) -> None:
    with service.client() as client:
        for path in OPEN:
            assert client.get(path).status_code == 200
        for routes in NEEDS.values():
            for method, path in routes:
                answer = client.request(method, path, content=b"{}")
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"].startswith("Bearer")
                assert "paydesk keys new" in answer.json()["error"]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer x", "Bearer pd_", "Bearer pd_000000000000_abc", "Basic x:y"],
)
def test_what_is_no_key_is_refused(service: Service, header: str) -> None:
    answer = httpx.get(f"{service.url}/stats", headers={"Authorization": header})
    assert answer.status_code == 401


def test_a_key_is_kept_as_a_digest_and_shown_once(service: Service) -> None:
    key = new_key(service, "score")
    listed = paydesk(service, "keys", "list").stdout
    assert key.split("_")[1] in listed
    assert key.split("_", 2)[2] not in listed
    engine = open_database(f"sqlite:///{service.home / 'paydesk.db'}")
    with engine.connect() as connection:
        stored = str(connection.execute(select(api_keys)).all())
    engine.dispose()
    assert key.split("_", 2)[2] not in stored


def test_a_revoked_key_is_refused_within_seconds(service: Service) -> None:
    key = new_key(service, "score")
    time.sleep(2.5)
    with service.client(key) as client:
        assert client.get("/stats").status_code == 200
        assert paydesk(service, "keys", "revoke", key.split("_")[1]).returncode == 0
        time.sleep(2.5)
        assert client.get("/stats").status_code == 401


def test_a_row_that_is_no_key_keeps_no_other_key_in_force(trained: Trained, tmp_path: Path) -> None:
    service = Service(trained, tmp_path, {"PAYDESK_ACCESS": "keys"})
    key, other = new_key(service, "score"), new_key(service, "score")
    with service, service.client(key) as client, service.client(other) as calm:
        assert client.get("/stats").status_code == 200
        engine = open_database(f"sqlite:///{service.home / 'paydesk.db'}")
        bad = {"key_id": "bad", "name": "bad", "scopes": "pay", "created_at_us": 1}
        with engine.begin() as connection:
            connection.execute(insert(api_keys).values(digest="zz", **bad))
        engine.dispose()
        time.sleep(2.5)  # The row was read.
        assert paydesk(service, "keys", "revoke", key.split("_")[1]).returncode == 0
        time.sleep(2.5)
        assert client.get("/stats").status_code == 401
        assert calm.get("/stats").status_code == 200
        assert paydesk(service, "keys", "list").returncode == 0
    said = [line.get("message", "") for line in service.lines()]
    assert any("is no key and is left out" in text for text in said)
    assert "Traceback" not in service.log.read_text("utf-8")


def test_keys_that_cannot_be_made_or_revoked_are_one_sentence(service: Service) -> None:
    for words in (
        ["new", "x", "--scope", "everything"],
        ["new", "", "--scope", "score"],
        ["revoke", "0123"],
    ):
        done = paydesk(service, "keys", *words)
        assert done.returncode == 2
        assert done.stderr.startswith("Error: ")
        assert "Traceback" not in done.stderr


def test_a_key_that_sends_too_much_waits_and_others_do_not(service: Service) -> None:
    busy, other = new_key(service, "score"), new_key(service, "score")
    time.sleep(2.5)
    with service.client(busy) as client, service.client(other) as calm:
        answers = [client.get("/status") for _ in range(120)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert refused
        assert {answer.status_code for answer in answers} == {200, 429}
        assert int(refused[0].headers["retry-after"]) >= 1
        assert refused[0].headers["content-type"] == "application/problem+json"
        assert calm.get("/status").status_code == 200
        time.sleep(int(refused[-1].headers["retry-after"]))
        assert client.get("/status").status_code == 200


def test_what_a_key_may_not_do_counts_too(service: Service) -> None:
    key = new_key(service, "score")
    time.sleep(2.5)
    with service.client(key) as client:
        statuses = {client.get("/payments").status_code for _ in range(120)}
    assert statuses == {403, 429}


def test_the_pace_lets_through_what_it_says() -> None:
    pace = Pace(10)
    passed = sum(pace.wait_s() == 0 for _ in range(100))
    assert passed in {10, 11}
    time.sleep(0.5)
    assert sum(pace.wait_s() == 0 for _ in range(100)) in {5, 6}


def test_pages_of_allowed_origins_may_call_and_others_may_not(service: Service) -> None:
    ask = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    allowed = httpx.options(
        f"{service.url}/score", headers={"Origin": "https://desk.example", **ask}
    )
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://desk.example"
    other = httpx.options(f"{service.url}/score", headers={"Origin": "https://evil.example", **ask})
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers
    assert other.headers["content-type"] == "application/problem+json"
    plain = httpx.get(f"{service.url}/health", headers={"Origin": "https://desk.example"})
    assert plain.headers["access-control-allow-origin"] == "https://desk.example"
    assert (
        "access-control-allow-origin"
        not in httpx.get(
            f"{service.url}/health", headers={"Origin": "https://evil.example"}
        ).headers
    )


def test_try_takes_a_key(service: Service) -> None:
    key = new_key(service, "score", "read")
    time.sleep(2.5)
    done = subprocess.run(
        [sys.executable, "-m", "paydesk", "try", "--url", service.url, "--key", key],
        cwd=ROOT,
        env=service.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert key not in service.log.read_text("utf-8")


def test_anyone_may_when_told_in_so_many_words(trained: Trained, tmp_path: Path) -> None:
    with Service(trained, tmp_path, {"PAYDESK_ACCESS": "anyone"}, port=free_port()) as service:
        elsewhere = {"Host": "paydesk.example"}
        assert httpx.get(f"{service.url}/stats", headers=elsewhere).status_code == 200
        from_a_page = {"Origin": "https://evil.example"}
        rebound = {"Origin": "http://evil.example", "Host": "evil.example"}
        for headers in (from_a_page, rebound):
            refused = httpx.post(f"{service.url}/score", json={"amount": 1}, headers=headers)
            assert refused.status_code == 403
