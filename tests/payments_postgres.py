"""A private PostgreSQL server for the tests, where its programs are installed."""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

URL_VARIABLE = "PAYDESK_TEST_POSTGRES_URL"


@contextmanager
def running_postgres() -> Iterator[str]:
    """The URL of a server: the one that PAYDESK_TEST_POSTGRES_URL names, or one started here.

    Skips the test when there is neither; under CI=true that is a failure.
    """
    if named := os.environ.get(URL_VARIABLE):
        yield named
        return
    programs = _programs()
    if programs is None:
        reason = f"no PostgreSQL: install postgresql, or set {URL_VARIABLE}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="paydesk-postgres-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        as_owner: list[str] = []
        if os.geteuid() == 0:
            # PostgreSQL does not run as root.
            for path in (Path(folder), data):
                shutil.chown(path, "postgres", "postgres")
            as_owner = ["runuser", "-u", "postgres", "--"]
        port = _free_port()

        def run(program: str, *arguments: str) -> None:
            done = subprocess.run(
                [*as_owner, str(programs / program), "-D", str(data), *arguments],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stderr

        run("initdb", "-A", "trust", "-U", "paydesk", "-E", "UTF8", "--no-locale")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c max_connections=200"
        run("pg_ctl", "-w", "-l", f"{folder}/log", "-o", options, "start")
        try:
            yield f"postgresql://paydesk@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-w", "-m", "immediate", "stop")


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """The URL of an empty database on the server, dropped at the end."""
    name = f"paydesk_{secrets.token_hex(6)}"
    driver_url = server_url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(driver_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield server_url.rsplit("/", 1)[0] + f"/{name}"
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


def _programs() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
