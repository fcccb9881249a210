"""The decision log: on disk before it is acknowledged, counted over all, honest when it fails."""

import asyncio
import itertools
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import free_port
from sqlalchemy import Connection, Engine, select, text

from paydesk.storage.database import (
    DatabaseUnavailableError,
    migrate,
    now_us,
    open_database,
    writing,
)
from paydesk.storage.decision_history import DecisionHistory
from paydesk.storage.decision_log import DecisionLog, DecisionLogUnavailableError
from paydesk.storage.identifiers import new_id, new_ids
from paydesk.storage.tables import decisions


def row(tx_id: str, level: int = 0) -> dict[str, object]:
    """A decision's row."""
    return {
        "decision_id": new_id(),
        "recorded_at_us": now_us(),
        "tx_id": tx_id,
        "amount": "1.5",
        "category": None,
        "hour": 12,
        "store": None,
        "customer_id": None,
        "level": level,
        "points": 0,
        "fraud": False,
        "fraud_probability": 0.25,
        "triggered_rules": "[]",
        "reasons": "[]",
        "model": "risk:1",
    }


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path / 'log.db'}")
    yield engine
    engine.dispose()


def test_many_at_once_are_all_there_and_counted(engine: Engine) -> None:
    log = DecisionLog(engine)

    async def append_all() -> None:
        await asyncio.gather(*(log.append(row(f"TX{n}", n % 4)) for n in range(1_000)))

    asyncio.run(append_all())
    assert DecisionHistory(engine).totals() == {0: 250, 1: 250, 2: 250, 3: 250}
    latest = DecisionHistory(engine).latest("TX7")
    assert latest is not None
    assert latest.level == 3
    assert DecisionHistory(engine).latest("TX1000") is None
    log.close()
    with engine.connect() as connection:
        assert len(connection.execute(select(decisions.c.seq)).all()) == 1_000


class Begun:
    """Knows when a commit begins."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def waiting(self, _decisions: int) -> None:
        self.begun.set()

    def committed(self, _decisions: int, _seconds: float) -> None:
        pass


def test_a_single_decision_waits_for_one_commit_of_rows_at_most(engine: Engine) -> None:
    watch = Begun()
    log = DecisionLog(engine, watch)

    async def append_while_nobody_can_write() -> None:
        with writing(engine):
            waiting: list[asyncio.Task[object]] = [asyncio.create_task(log.append(row("first")))]
            await asyncio.to_thread(watch.begun.wait, 30)
            for body in ("A", "B", "C"):
                rows = [row(body) for _ in range(600)]
                waiting.append(asyncio.create_task(log.append_all(rows)))
            waiting += [asyncio.create_task(log.append(row(f"TX{n}"))) for n in range(3)]
            await asyncio.sleep(0)  # All of them wait now.
        await asyncio.gather(*waiting)

    asyncio.run(append_while_nobody_can_write())
    log.close()
    with engine.connect() as connection:
        found = connection.execute(select(decisions.c.tx_id).order_by(decisions.c.seq)).scalars()
        order = [tx_id for tx_id, _ in itertools.groupby(found)]
    assert order == ["first", "A", "TX0", "TX1", "TX2", "B", "C"]


def test_what_is_written_beside_decisions_is_there_with_them_or_neither_is(engine: Engine) -> None:
    log = DecisionLog(engine)

    def stop(_connection: Connection) -> None:
        raise ValueError

    def prune(connection: Connection) -> None:
        connection.execute(text("UPDATE decision_totals SET decisions = 7 WHERE level = 3"))

    async def append() -> list[object]:
        undone = log.append_all([row("undone")], stop)
        ours = log.append_all([row("ours")], prune)
        others = log.append_all([row("others")])
        return list(await asyncio.gather(undone, ours, others, return_exceptions=True))

    failed, *done = asyncio.run(append())
    log.close()
    assert isinstance(failed, DecisionLogUnavailableError)
    assert done == [{}, {}]
    assert DecisionHistory(engine).latest("undone") is None
    assert DecisionHistory(engine).totals() == {0: 2, 1: 0, 2: 0, 3: 7}


def test_the_newest_decision_is_the_one_found(engine: Engine) -> None:
    log = DecisionLog(engine)

    async def append_two() -> None:
        await log.append(row("same", 1))
        await log.append(row("same", 2))

    asyncio.run(append_two())
    latest = DecisionHistory(engine).latest("same")
    assert latest is not None
    assert latest.level == 2
    log.close()


def test_sqlite_is_as_durable_as_it_can_be(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_a_log_that_cannot_be_written_says_so_and_recovers(engine: Engine) -> None:
    log = DecisionLog(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE decisions RENAME TO away"))
    with pytest.raises(DecisionLogUnavailableError):
        asyncio.run(log.append(row("TX1")))
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE away RENAME TO decisions"))
    asyncio.run(log.append(row("TX2")))
    assert DecisionHistory(engine).totals()[0] == 1
    log.close()
    with pytest.raises(DecisionLogUnavailableError):
        asyncio.run(log.append(row("TX3")))


def test_migrating_again_and_from_many_threads_does_no_harm(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'many.db'}"
    failed: list[Exception] = []

    def open_it() -> None:
        try:
            open_database(url).dispose()
        except Exception as error:  # noqa: BLE001 (whatever it is, the test shows it)
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    engine = open_database(url)
    migrate(engine)
    assert DecisionHistory(engine).totals() == {0: 0, 1: 0, 2: 0, 3: 0}
    engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+asyncpg://user:s3cret@localhost/db",
        "mysql://user:s3cret@localhost/db",
        "postgres://user:s3cret@localhost:abc/db",
        "s3cret",
    ],
)
def test_an_address_of_another_kind_is_one_sentence_without_its_password(url: str) -> None:
    with pytest.raises(
        DatabaseUnavailableError, match="no address that Paydesk can use"
    ) as refused:
        open_database(url)
    assert "s3cret" not in str(refused.value)


def test_a_password_in_the_query_is_not_shown() -> None:
    url = f"postgres://127.0.0.1:{free_port()}/db?user=u&password=s3cret"
    with pytest.raises(DatabaseUnavailableError, match="cannot be opened") as refused:
        open_database(url)
    assert "s3cret" not in str(refused.value)


def test_an_unusable_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a database, and long enough to be seen as one" * 40)
    with pytest.raises(DatabaseUnavailableError, match="cannot be opened"):
        open_database(f"sqlite:///{tmp_path / 'file'}")
    with pytest.raises(DatabaseUnavailableError, match="cannot be opened"):
        open_database(f"sqlite:///{tmp_path / 'file' / 'inside.db'}")
    with pytest.raises(DatabaseUnavailableError) as refused:
        open_database(f"postgresql://joe:very-secret@127.0.0.1:{free_port()}/nope")
    assert "very-secret" not in str(refused.value)


def test_identifiers_are_uuids_of_version_7_in_order_of_time() -> None:
    made = [new_id()]
    for _ in range(3):
        time.sleep(0.002)
        made.append(new_id())
    assert made == sorted(made)
    made += new_ids(200)
    assert len(set(made)) == 204
    assert max(made[:3]) < min(new_ids(1))
    assert all(identifier[14] == "7" and identifier[19] in "89ab" for identifier in made)
    assert all(str(uuid.UUID(identifier)) == identifier for identifier in made)
    assert {identifier[19] for identifier in made} == set("89ab")
