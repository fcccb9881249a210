"""What a decision answers: under one source one decision, counted once, whoever writes it."""

import asyncio
import threading
from collections.abc import Iterator

import httpx
import pytest
from sqlalchemy import Engine, func, select
from test_decision_log import row

from paydesk.storage.database import now_us, open_database, writing
from paydesk.storage.decision_counts import counted
from paydesk.storage.decision_history import DecisionHistory
from paydesk.storage.decision_log import DecisionLog
from paydesk.storage.decision_writer import DecisionWriter
from paydesk.storage.tables import decisions

pytest_plugins = ["payments_fixtures"]

TX = {"tx_id": "S1", "amount": 4500.0, "category": "electronics", "hour": 3}


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """SQLite, then PostgreSQL."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def sourced(source: str, level: int = 0) -> dict[str, object]:
    """A decision's row that answers `source`."""
    return {**row(f"TX-{source}", level), "source": source}


def count(engine: Engine) -> tuple[int, int, int]:
    """Decisions in the table, in the totals, in the counts."""
    with engine.connect() as connection:
        there = connection.execute(select(func.count()).select_from(decisions)).scalar_one()
    hour_us = 3_600_000_000
    since = now_us() // hour_us * hour_us - hour_us
    spans = counted(engine, since, since + 3 * hour_us, hour_us // 12)
    return (
        there,
        sum(DecisionHistory(engine).totals().values()),
        sum(spans.over_time.values()),
    )


def test_a_source_that_comes_again_changes_nothing_and_finds_its_decision(engine: Engine) -> None:
    log = DecisionLog(engine)
    first, other, again = sourced("a", 3), sourced("b", 1), sourced("a", 0)

    async def append() -> None:
        assert await log.append(first) is None
        assert await log.append(other) is None
        there = await log.append(again)
        assert there is not None
        assert (there.decision_id, there.level) == (first["decision_id"], 3)
        assert await log.append(row("without")) is None
        mixed = [row("without"), sourced("b"), sourced("c")]
        assert {
            source: found.decision_id for source, found in (await log.append_all(mixed)).items()
        } == {"b": other["decision_id"]}

    asyncio.run(append())
    log.close()
    assert count(engine) == (5, 5, 5)
    assert DecisionHistory(engine).totals() == {0: 3, 1: 1, 2: 0, 3: 1}


def test_the_same_source_twice_in_one_commit_is_one_decision(engine: Engine) -> None:
    rows = [sourced("same"), sourced("same"), sourced("own"), sourced("same")]
    with writing(engine) as connection:
        found = DecisionWriter(engine).write(connection, rows)
    assert {source: there.decision_id for source, there in found.items()} == {
        "same": rows[0]["decision_id"]
    }
    assert count(engine) == (2, 2, 2)


def test_two_writers_of_the_same_sources_write_each_once(engine: Engine) -> None:
    """As two scorers do, one of which was taken for dead."""
    batches = [[f"{n}/{place}" for place in range(200)] for n in range(5)]
    answered: list[dict[str, str]] = [{}, {}]

    def write(which: int) -> None:
        writer = DecisionWriter(engine)
        for batch in batches:
            rows = [sourced(source) for source in batch]
            with writing(engine) as connection:
                found = writer.write(connection, rows)
            for made in rows:
                source = str(made["source"])
                there = found.get(source)
                mine = str(made["decision_id"])
                answered[which][source] = mine if there is None else str(there.decision_id)

    threads = [threading.Thread(target=write, args=(which,)) for which in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answered[0]) == 1_000
    assert answered[0] == answered[1]
    assert count(engine) == (1_000, 1_000, 1_000)


def test_score_with_a_key_answers_again_what_it_answered(client: httpx.Client) -> None:
    key = {"Idempotency-Key": "test_decision_sources/1"}
    before = client.get("/stats").json()["total"]
    first = client.post("/score", json=TX, headers=key)
    again = client.post("/score", json={**TX, "unknown": "member"}, headers=key)
    assert first.status_code == again.status_code == 200
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == first.json()
    assert client.get("/stats").json()["total"] == before + 1
    without = client.post("/score", json=TX).json()
    assert without["decision_id"] != first.json()["decision_id"]
    other = client.post("/score", json={**TX, "amount": 1.0}, headers=key)
    assert other.status_code == 422
    assert "another transaction" in other.json()["error"]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\tinside", "kl\xfcssel"])
def test_a_key_that_is_none_is_a_400(client: httpx.Client, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode("latin-1")}
    answer = client.post("/score", json=TX, headers=headers)
    assert answer.status_code == 400
    assert "Idempotency-Key" in answer.json()["error"]


def test_many_with_the_same_key_at_once_get_one_decision(client: httpx.Client) -> None:
    async def ask() -> list[str]:
        async with httpx.AsyncClient(base_url=client.base_url, timeout=30) as many:
            headers = {"Idempotency-Key": "test_decision_sources/many"}
            asked = (many.post("/score", json=TX, headers=headers) for _ in range(20))
            return [answer.json()["decision_id"] for answer in await asyncio.gather(*asked)]

    assert len(set(asyncio.run(ask()))) == 1
