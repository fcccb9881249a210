"""Ten million decisions in the log: how long look-ups, totals, pages and a commit take then.

    python benchmarks/decision_log.py sqlite:////folder/with/5/GB/free.db
    python benchmarks/decision_log.py postgresql://user@host/empty_database

An empty database is filled; one that is filled is measured only. Prints a table in milliseconds.
"""

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Engine, func, insert, select

from paydesk.storage.database import now_us, open_database, writing
from paydesk.storage.decision_counts import DecisionTally, counted
from paydesk.storage.decision_history import DecisionFilter, DecisionHistory, Position
from paydesk.storage.decision_log import DecisionLog
from paydesk.storage.identifiers import new_id
from paydesk.storage.tables import decisions

_PART = 50_000
_SECOND_US = 1_000_000
_DAY_US = 86_400 * _SECOND_US
_BEGIN_US = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * _SECOND_US
_STORES = 500


def main() -> None:
    """Fills where needed, measures, prints."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("database", help="SQLAlchemy URL")
    arguments.add_argument("--decisions", type=int, default=10_000_000)
    chosen = arguments.parse_args()
    engine = open_database(chosen.database)
    history = DecisionHistory(engine)
    there = sum(history.totals().values())
    if there < chosen.decisions:
        _fill(engine, there, chosen.decisions)
    with engine.connect() as connection:
        total = connection.execute(select(func.count()).select_from(decisions)).scalar_one()
    print(f"{engine.dialect.name}, {total:,} decisions, milliseconds:")
    print(f"{'':34}{'median':>9}{'p99':>9}{'most':>9}")
    for name, call, times in _calls(engine, history, total):
        taken = []
        for _ in range(times):
            began = time.perf_counter()
            call()
            taken.append((time.perf_counter() - began) * 1_000)
        _print(name, taken)
    _print("a commit of one decision", asyncio.run(_appended(engine)))
    engine.dispose()


def _fill(engine: Engine, there: int, wanted: int) -> None:
    started = time.perf_counter()
    chance = random.Random(7)  # noqa: S311 (no secret)
    tally = DecisionTally(engine)
    for first in range(there, wanted, _PART):
        numbers = range(first, min(first + _PART, wanted))
        rows = [_row(n, _BEGIN_US + n * _SECOND_US, chance) for n in numbers]
        with writing(engine) as connection:
            connection.execute(insert(decisions), rows)
            tally.add(connection, rows)
        if (first + _PART) % 1_000_000 == 0:
            print(f"{first + _PART:,} in {time.perf_counter() - started:.0f} s", flush=True)


def _row(number: int, recorded_at_us: int, chance: random.Random) -> dict[str, object]:
    return {
        "decision_id": new_id(),
        "recorded_at_us": recorded_at_us,
        "tx_id": f"TX{number:08d}",
        "amount": f"{chance.random() * 5_000:.2f}",
        "category": "electronics",
        "hour": number % 24,
        "store": f"Store {chance.randrange(_STORES)}",
        "customer_id": f"C{chance.randrange(1_000_000)}",
        "level": chance.choices(range(4), (90, 7, 2, 1))[0],
        "points": 2,
        "fraud": False,
        "fraud_probability": chance.random(),
        "triggered_rules": '["R2: electronics > 1500"]',
        "reasons": '["Electronics above 1500."]',
        "model": "risk:1",
    }


def _calls(
    engine: Engine, history: DecisionHistory, total: int
) -> list[tuple[str, Callable[[], object], int]]:
    chance = random.Random(11)  # noqa: S311

    def page(which: DecisionFilter) -> object:
        return history.page(which, Position(_BEGIN_US, chance.randrange(total)), 50)

    def an_hour() -> object:
        since_us = _BEGIN_US + chance.randrange(total) * _SECOND_US
        until_us = since_us + 3_600 * _SECOND_US
        return history.page(DecisionFilter(since_us=since_us, until_us=until_us), None, 50)

    def a_store() -> DecisionFilter:
        return DecisionFilter(store=f"Store {chance.randrange(_STORES)}")

    def a_month() -> object:
        since_us = (
            _BEGIN_US + chance.randrange(max(total * _SECOND_US // _DAY_US - 29, 1)) * _DAY_US
        )
        return counted(engine, since_us, since_us + 30 * _DAY_US, _DAY_US // 2)

    return [
        ("GET /transaction", lambda: history.latest(f"TX{chance.randrange(total):08d}"), 2_000),
        ("GET /transaction, never scored", lambda: history.latest("never"), 500),
        ("GET /stats", history.totals, 2_000),
        ("GET /decisions/counts, 30 days", a_month, 100),
        ("GET /decisions", lambda: page(DecisionFilter()), 500),
        ("  level=CRITICAL", lambda: page(DecisionFilter(level=3)), 500),
        ("  store=…", lambda: page(a_store()), 500),
        ("  since=… until=…, an hour", an_hour, 500),
    ]


async def _appended(engine: Engine) -> list[float]:
    log = DecisionLog(engine)
    chance = random.Random(13)  # noqa: S311
    taken = []
    for number in range(300):
        began = time.perf_counter()
        await log.append(_row(number, now_us(), chance))
        taken.append((time.perf_counter() - began) * 1_000)
    log.close()
    return taken


def _print(name: str, taken: list[float]) -> None:
    p99 = statistics.quantiles(taken, n=100)[98]
    print(f"{name:34}{statistics.median(taken):9.2f}{p99:9.2f}{max(taken):9.2f}", flush=True)


if __name__ == "__main__":
    main()
