"""The fixtures of the payment tests: a sandbox bank with fresh books, and a fresh database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from payments_bank import RunningSandbox, running_sandbox
from payments_clock import Clock
from payments_postgres import fresh_database, running_postgres
from payments_service import write_forest
from sqlalchemy import Engine

from paydesk.payments.sandbox import SandboxOptions
from paydesk.storage.database import connect, open_database


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    with running_sandbox(folder, SandboxOptions(settles_after_s=0.0)) as running:
        yield running


@pytest.fixture
def bank(_server: RunningSandbox, tmp_path: Path) -> Iterator[RunningSandbox]:
    """A sandbox with empty books and no faults; what it takes is settled at once (ACSC)."""
    with _server.fresh_books(tmp_path):
        yield _server


@pytest.fixture(scope="session")
def _newest_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "paydesk.db"
    open_database(f"sqlite:///{path}").dispose()
    return path


@pytest.fixture
def engine(_newest_database: Path, tmp_path: Path) -> Iterator[Engine]:
    """A database with the newest tables and nothing in them."""
    path = shutil.copy(_newest_database, tmp_path / "paydesk.db")
    engine = connect(f"sqlite:///{path}")
    yield engine
    engine.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[str]:
    with running_postgres() as url:
        yield url


@pytest.fixture
def postgres_url(_postgres: str) -> Iterator[str]:
    """An empty database of PostgreSQL."""
    with fresh_database(_postgres) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database that several processes can open: SQLite, then PostgreSQL."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'shared.db'}"
        return
    yield request.getfixturevalue("postgres_url")


@pytest.fixture(scope="session")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small forest for routes that score."""
    return write_forest(tmp_path_factory.mktemp("forest"))
