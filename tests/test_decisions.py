"""The log of decisions over HTTP: pages, filters, export, retention; on both databases."""

import csv
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from conftest import Trained
from service_process import Service, paydesk
from sqlalchemy import Engine, insert
from test_decision_log import row

from paydesk.risk.transaction import Level
from paydesk.storage.database import open_database
from paydesk.storage.decision_history import DecisionFilter, DecisionHistory
from paydesk.storage.tables import decisions
from paydesk.web.decision_table import disarmed

pytest_plugins = ["payments_fixtures"]


@pytest.fixture
def filled(database_url: str) -> Iterator[Engine]:
    """Ten decisions, a second apart from 2026-01-01; each level in turn, two stores."""
    engine = open_database(database_url)
    start_us = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
    with engine.begin() as connection:
        for n in range(10):
            made = {**row(f"TX{n}", n % 4), "recorded_at_us": start_us + n * 1_000_000}
            connection.execute(insert(decisions), {**made, "store": f"Store {n % 2}"})
    yield engine
    engine.dispose()


@pytest.fixture
def client(
    trained: Trained, tmp_path: Path, filled: Engine, database_url: str
) -> Iterator[httpx.Client]:
    del filled
    with (
        Service(trained, tmp_path, {"PAYDESK_DATABASE_URL": database_url}, workers=2) as service,
        service.client() as client,
    ):
        yield client


def test_the_log_is_read_page_by_page_and_filtered(client: httpx.Client) -> None:
    def ids(query: str) -> list[str]:
        return [each["tx_id"] for each in client.get(f"/decisions?{query}").json()["decisions"]]

    newest_first = [f"TX{n}" for n in reversed(range(10))]
    assert ids("") == newest_first
    assert ids("level=CRITICAL") == ["TX7", "TX3"]
    assert ids("store=Store%201&level=MEDIUM") == ["TX9", "TX5", "TX1"]
    assert ids("since=2026-01-01T00:00:08Z") == ["TX9", "TX8"]
    assert ids("until=2026-01-01T00:00:02Z") == ["TX1", "TX0"]
    assert ids("since=2026-01-01T02:00:03%2B02:00&until=2026-01-01T00:00:05Z") == ["TX4", "TX3"]
    assert ids("since=2026-01-02") == []
    assert ids("store=none") == []
    for query in (
        "limit=3",
        "limit=3&since=2026-01-01",
        "limit=1&level=LOW",
        "limit=4&store=Store%200",
    ):
        paged, cursor = [], ""
        while True:
            page = client.get(f"/decisions?{query}{cursor}").json()
            paged += [each["tx_id"] for each in page["decisions"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert paged == ids(query.partition("&")[2])
    client.post("/score", json={"tx_id": "new", "amount": 1})
    assert ids("limit=1") == ["new"]

    answer = client.get("/decisions.csv?store=Store%201")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [line["tx_id"] for line in lines] == ["TX9", "TX7", "TX5", "TX3", "TX1"]
    assert lines[0]["recorded_at"] == "2026-01-01T00:00:09.000000+00:00"
    assert lines[1]["risk_level"] == "CRITICAL"


def test_an_export_is_streamed_whole_and_its_formulas_are_disarmed(
    trained: Trained, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'paydesk.db'}"
    engine = open_database(url)
    with engine.begin() as connection:
        rows = [{**row(f"=cmd|{n}"), "store": 'Köln, "Süd"\n'} for n in range(25_000)]
        connection.execute(insert(decisions), rows)
    engine.dispose()
    with Service(trained, tmp_path) as service, service.client() as client:
        with client.stream("GET", "/decisions.csv") as answer:
            assert "content-length" not in answer.headers
            lines = list(csv.DictReader(io.StringIO("".join(answer.iter_text()))))
        assert [line["tx_id"] for line in lines] == [f"'=cmd|{n}" for n in reversed(range(25_000))]
        assert lines[0]["store"] == 'Köln, "Süd"\n'
        assert client.get("/decisions?limit=1").json()["decisions"][0]["tx_id"] == "=cmd|24999"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("x;=1+1;", "'x =1+1 "),
        ("\n=1+1", "' =1+1"),
        ("＝1+1", "'＝1+1"),
        ("+48 22", "'+48 22"),
        ("a=b; c", "a=b; c"),
        ("café; tea", "café; tea"),
    ],
)
def test_no_cell_of_an_export_is_a_formula_whatever_separates_cells(text: str, cell: str) -> None:
    assert disarmed(text) == cell


def test_many_workers_and_servers_write_one_log(
    trained: Trained, tmp_path: Path, database_url: str
) -> None:
    homes = [tmp_path / "one", tmp_path / "two"]
    for home in homes:
        home.mkdir()
    settings = {"PAYDESK_DATABASE_URL": database_url}
    with (
        Service(trained, homes[0], settings, workers=2) as one,
        Service(trained, homes[1], settings, workers=2) as two,
    ):

        def score(n: int) -> str:
            url = (one, two)[n % 2].url
            answer = httpx.post(f"{url}/score", json={"tx_id": f"W{n}", "amount": n}, timeout=30)
            assert answer.status_code == 200
            other = (two, one)[n % 2].url
            found = httpx.get(f"{other}/transaction/W{n}", timeout=30).json()
            assert found["decision_id"] == answer.json()["decision_id"]  # at once, anywhere
            return str(found["decision_id"])

        with ThreadPoolExecutor(8) as callers:
            made = list(callers.map(score, range(200)))
        for url in (one.url, two.url):
            assert httpx.get(f"{url}/stats").json()["total"] == 200
        listed: list[str] = []
        cursor = ""
        while True:
            page = httpx.get(f"{one.url}/decisions?limit=50{cursor}").json()
            listed += [each["decision_id"] for each in page["decisions"]]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert len(listed) == len(set(listed)) == 200
        assert set(listed) == set(made)


def test_old_decisions_are_pruned_beside_scoring_and_stay_counted(
    trained: Trained, tmp_path: Path
) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'paydesk.db'}")
    old_us = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)
    with engine.begin() as connection:
        rows = [{**row(f"old{n}"), "recorded_at_us": old_us + n} for n in range(12_000)]
        connection.execute(insert(decisions), rows)
    engine.dispose()
    with Service(trained, tmp_path) as service, service.client() as client:
        before = client.post("/score", json={"tx_id": "kept", "amount": 1})
        assert before.status_code == 200
        pruned = paydesk(service, "decisions", "prune", "--before", "2021-01-01")
        assert "Removed 12,000 decisions" in pruned.stdout
        again = paydesk(service, "decisions", "prune", "--before", "2021-01-01")
        assert "Removed 0 decisions" in again.stdout
        assert client.get("/transaction/old5").status_code == 404
        assert client.get("/transaction/kept").status_code == 200
        assert client.get("/stats").json()["total"] == 1  # the rows put in by hand never counted
        ahead = paydesk(service, "decisions", "prune", "--before", "2999-01-01")
        assert ahead.returncode == 2
        assert "2999-01-01" in ahead.stderr


def test_a_clock_that_was_set_back_turns_no_order(filled: Engine) -> None:
    with filled.begin() as connection:
        connection.execute(insert(decisions), {**row("after"), "recorded_at_us": 1})
        connection.execute(insert(decisions), {**row("TX9", 3), "recorded_at_us": 2})
    history = DecisionHistory(filled)
    rows, _ = history.page(DecisionFilter(), None, 3)
    assert [each.tx_id for each in rows] == ["TX9", "after", "TX9"]
    latest = history.latest("TX9")
    assert latest is not None
    assert latest.level == Level.CRITICAL
    early, _ = history.page(DecisionFilter(until_us=10), None, 3)
    assert [each.tx_id for each in early] == ["TX9", "after"]
    assert history.prune(10) == 2


def test_every_read_uses_an_index(filled: Engine) -> None:
    if filled.dialect.name != "sqlite":
        pytest.skip("EXPLAIN QUERY PLAN is SQLite's; benchmarks/decision_log.py measures both")
    began = time.perf_counter()
    with filled.connect() as connection:
        for where, index in {
            "tx_id = 'x' ORDER BY seq DESC": "ix_decisions_tx_id_seq",
            "level = 3 ORDER BY seq DESC": "ix_decisions_level_seq",
            "store = 'x' ORDER BY seq DESC": "ix_decisions_store_seq",
            "recorded_at_us > 5 ORDER BY recorded_at_us DESC, seq DESC": "ix_decisions_recorded_at",
        }.items():
            plan = connection.exec_driver_sql(
                f"EXPLAIN QUERY PLAN SELECT * FROM decisions WHERE {where} LIMIT 50"  # noqa: S608
            ).all()
            assert index in str(plan)
            assert "TEMP B-TREE" not in str(plan)
    assert time.perf_counter() - began < 1
