"""Decisions counted for charts: in the commit that writes them, over migrations, in every step."""

import asyncio
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from alembic import command
from alembic.config import Config
from conftest import ROOT
from sqlalchemy import Engine, insert, text
from test_decision_log import row

from paydesk.storage.database import connect, now_us, open_database, writing
from paydesk.storage.decision_counts import counted
from paydesk.storage.decision_log import DecisionLog
from paydesk.storage.tables import decisions

pytest_plugins = ["payments_fixtures"]

SPAN_US = 300_000_000
COARSE_US = 48 * SPAN_US

# The probability and the twentieth that it is in, with the edges.
TWENTIETHS = [
    (0.0, 0),
    (0.0499, 0),
    (0.05, 1),
    (0.2, 4),
    (0.25, 5),
    (0.949, 18),
    (0.95, 19),
    (1.0, 19),
]


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """SQLite, then PostgreSQL."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def decided(at_us: int, level: int, probability: float) -> dict[str, object]:
    """A decision's row."""
    return {**row("TX", level), "recorded_at_us": at_us, "fraud_probability": probability}


def test_each_commit_adds_to_the_counts(engine: Engine) -> None:
    span = 1_700_000_100_000_000 // SPAN_US * SPAN_US
    rows = [decided(span, 0, 0.01)] * 3 + [decided(span + SPAN_US - 1, 0, 0.04)]
    rows += [decided(span + SPAN_US, 3, 0.99), decided(span + 2 * SPAN_US, 1, 0.5)]

    async def append() -> None:
        log = DecisionLog(engine)
        await asyncio.gather(
            *(log.append({**one, "decision_id": str(n)}) for n, one in enumerate(rows))
        )
        await log.append({**rows[0], "decision_id": "later"})
        log.close()

    asyncio.run(append())
    found = counted(engine, span, span + 2 * SPAN_US, SPAN_US)
    assert found.over_time == {(span, 0): 5, (span + SPAN_US, 3): 1}
    assert found.by_probability == {(0, 0): 5, (19, 3): 1}
    # The coarse spans, which are counted apart, have the same decisions.
    begin = span - span % COARSE_US
    wide = counted(engine, begin, begin + 2 * COARSE_US, COARSE_US)
    assert sum(wide.over_time.values()) == 7
    assert {at % COARSE_US for at, _ in wide.over_time} == {0}


@pytest.mark.parametrize(("probability", "twentieth"), TWENTIETHS)
def test_the_edges_of_a_twentieth(tmp_path: Path, probability: float, twentieth: int) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'log.db'}")

    async def append() -> None:
        log = DecisionLog(engine)
        await log.append(decided(0, 0, probability))
        log.close()

    asyncio.run(append())
    assert counted(engine, 0, SPAN_US, SPAN_US).by_probability == {(twentieth, 0): 1}
    engine.dispose()


def test_what_was_logged_before_is_counted_by_the_migration(database_url: str) -> None:
    engine = connect(database_url)
    with writing(engine) as connection:
        config = Config()
        config.set_main_option("script_location", str(ROOT / "paydesk" / "storage" / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.execute(
            insert(decisions),
            [decided(SPAN_US + n, 2, probability) for n, (probability, _) in enumerate(TWENTIETHS)],
        )
    engine.dispose()
    engine = open_database(database_url)
    expected: dict[tuple[int, int], int] = {}
    for _, twentieth in TWENTIETHS:
        expected[twentieth, 2] = expected.get((twentieth, 2), 0) + 1
    found = counted(engine, 0, 2 * SPAN_US, SPAN_US)
    assert found.by_probability == expected
    assert found.over_time == {(SPAN_US, 2): len(TWENTIETHS)}
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM decision_counts")).scalar() == 12
    engine.dispose()


@pytest.mark.parametrize(
    ("window", "steps", "step_s"),
    [("hour", 12, 300), ("day", 48, 1_800), ("week", 42, 14_400), ("month", 60, 43_200)],
)
def test_a_window_has_all_its_steps_and_ends_now(
    client: httpx.Client, window: str, steps: int, step_s: int
) -> None:
    before = client.get(f"/decisions/counts?window={window}").json()
    client.post("/score", json={"amount": 3500, "hour": 1, "category": "food"})
    client.post("/score", json={"amount": 10, "category": "food"})
    after = client.get(f"/decisions/counts?window={window}").json()
    assert after["step_s"] == step_s
    assert (len(after["over_time"]), len(after["by_probability"])) == (steps, 20)
    for name in ("over_time", "by_probability"):
        grown = [
            sum(step[level] for step in after[name]) - sum(step[level] for step in before[name])
            for level in ("LOW", "CRITICAL")
        ]
        assert grown == [1, 1]
    assert now_us() // 1_000_000 - _seconds(after["over_time"][-1]["at"]) <= step_s


def test_a_window_that_there_is_not_is_refused(client: httpx.Client) -> None:
    answer = client.get("/decisions/counts?window=year")
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "window"


def _seconds(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()
