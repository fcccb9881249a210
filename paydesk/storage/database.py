"""Opens the one database, with the durability that money needs, in its newest shape."""

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from paydesk.errors import PaydeskError

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_MS = 5_000
# 16 MB of log. At SQLite's own 1,000 every second batch of a stream, and one commit of a hundred of
# /score, waits for a checkpoint's fsync of the whole file.
_CHECKPOINT_PAGES = 4_000
# No call may hang for ever: neither on a lock, nor on a server that went away without a word.
_POSTGRES = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "options": f"-c lock_timeout={_BUSY_MS}",
}
_DRIVERS = ("sqlite", "sqlite+pysqlite", "postgresql+psycopg")
_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_WRITES = {"paydesk_writes": True}
_MIGRATION_LOCK = 0x70617964


class DatabaseUnavailableError(PaydeskError):
    """The database cannot be reached or written; nothing was recorded."""


class SchemaError(PaydeskError):
    """The database has another shape than this Paydesk works with."""


def open_database(url: str, *, may_migrate: bool = True) -> Engine:
    """An engine for `url`, after the schema has been brought up to date, if that is allowed.

    SQLite runs in WAL mode with synchronous FULL: a commit that returned survives a power cut.
    Raises DatabaseUnavailableError when the database cannot be opened, SchemaError when its shape
    is newer, or older and not to be changed.
    """
    try:
        engine = connect(url)
    except OSError as error:
        raise DatabaseUnavailableError(_unavailable(url, error)) from error
    try:
        _refuse_encoding(engine)
        migrate(engine, may_migrate=may_migrate)
    except (SQLAlchemyError, OSError) as error:
        engine.dispose()
        raise DatabaseUnavailableError(_unavailable(url, error)) from error
    except PaydeskError:
        engine.dispose()
        raise
    return engine


def open_existing(url: str) -> Engine:
    """As `open_database`, of a database that is there.

    Raises DatabaseUnavailableError where SQLite would begin an empty one.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise DatabaseUnavailableError(
            f"There is no database {parsed.database}. Set PAYDESK_HOME or PAYDESK_DATABASE_URL as "
            "the service has it."
        )
    return open_database(url)


def connect(url: str) -> Engine:
    """An engine for `url`, whatever shape the database is in.

    Raises DatabaseUnavailableError for a URL of another kind.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(
            parsed, pool_pre_ping=True, connect_args=_POSTGRES, hide_parameters=True
        )
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed, connect_args={"check_same_thread": False}, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def answering(
    sentence: str = "The database does not answer just now. Try again in some seconds.",
) -> Iterator[None]:
    """Turns what the database fails with into a DatabaseUnavailableError that says `sentence`."""
    try:
        yield
    except SQLAlchemyError as error:
        raise DatabaseUnavailableError(sentence) from error


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that is going to write: commits at the end, rolls back on an exception.

    SQLite takes its write lock at once, so that what is read inside cannot have changed before the
    write (a transaction that begins by reading would fail with SQLITE_BUSY instead of waiting).
    """
    with engine.connect().execution_options(**_WRITES) as connection, connection.begin():
        yield connection


def inserting(engine: Engine, table: Table) -> Any:
    """An INSERT that may have an ON CONFLICT, which SQLAlchemy has a class a dialect for."""
    return _INSERT[engine.dialect.name](table)


def migrate(engine: Engine, *, may_migrate: bool = True) -> None:
    """Brings the database to the newest shape; does nothing when it has it. Raises SchemaError."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    known = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    newest = known[0]
    with engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    if present == newest:
        return
    if present is not None and present not in known:
        message = (
            f"The database has the schema {present[:40]!r} of a newer Paydesk; this one knows up "
            f"to {newest!r}. Run the newer one, or go back to a backup from before its migration."
        )
        raise SchemaError(message)
    if not may_migrate:
        message = (
            f"The database needs a migration, from {present or 'nothing'!r} to {newest!r}: make a "
            "backup and run `paydesk migrate` with the same settings, then start again."
        )
        raise SchemaError(message)
    with writing(engine) as connection:
        if connection.dialect.name == "postgresql":
            # Another worker's migration may take long; this one waits for it.
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})")
        # Another worker may have done it while this one waited for the lock: Alembic looks again.
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def now_us() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # The driver's own transactions begin too late (at the first write): SQLAlchemy's documentation
    # tells to switch them off and to emit BEGIN.
    if isinstance(connection, sqlite3.Connection):
        connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {_BUSY_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("paydesk_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _parsed(url: str) -> URL:
    try:
        # The short name is how hosting providers write it.
        parsed = make_url(re.sub("^postgres(ql)?://", "postgresql+psycopg://", url))
        usable = parsed.drivername in _DRIVERS
    except (ArgumentError, ValueError):
        usable = False
    if not usable:
        # Not even in part is it shown: who knows where its password is.
        raise DatabaseUnavailableError(
            "PAYDESK_DATABASE_URL is no address that Paydesk can use: give "
            "postgresql://USER:PASSWORD@HOST:PORT/NAME or sqlite:////FOLDER/FILE.db, or leave it "
            "out for SQLite in PAYDESK_HOME."
        )
    return parsed


def _refuse_encoding(engine: Engine) -> None:
    """A PostgreSQL database of another encoding cannot keep the texts of all callers."""
    if engine.dialect.name != "postgresql":
        return
    try:
        with engine.connect() as connection:
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    except TypeError:  # The driver gives bytes for texts of no known encoding.
        encoding = "SQL_ASCII"
    if encoding != "UTF8":
        raise DatabaseUnavailableError(
            f"The PostgreSQL database has the encoding {encoding}; make one with UTF8: "
            "CREATE DATABASE paydesk ENCODING 'UTF8' TEMPLATE template0."
        )


def _unavailable(url: str, error: Exception) -> str:
    # A driver's reason may have several lines; a log wants one.
    reason = " ".join(str(getattr(error, "orig", None) or error).split())
    # The query may have a password of its own.
    parsed = _parsed(url)
    plain = parsed.set(query={}, drivername=parsed.get_backend_name())
    shown = plain.render_as_string(hide_password=True)
    return (
        f"The database {shown} cannot be opened: "
        f"{reason}. Check PAYDESK_DATABASE_URL, and that its folder can be written."
    )
