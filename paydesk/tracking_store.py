"""The MLflow store: embedded under mlruns/ by default, or a server or database by its address."""

import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SADeprecationWarning, SQLAlchemyError

from paydesk.errors import PaydeskError
from paydesk.settings import Settings

CHAMPION = "champion"
CHALLENGER = "challenger"
SERVING = "serving"
SERVING_DIGEST = "serving.sha256"
HOLDOUT_DIGEST = "holdout.sha256"

# What a store can fail with: MLflow wraps most, but not what happens while it opens one.
FAILURES = (MlflowException, SQLAlchemyError, OSError, ImportError)

_EMBEDDED = "sqlite:///"
_SCHEMES = ("sqlite", "http", "https", "postgresql", "mysql", "mssql")


class StoreMovedError(PaydeskError):
    """The embedded store was moved: its database still names the old folder."""


class StoreUnreachableError(PaydeskError):
    """The MLflow store does not answer, refuses, or is none that Paydesk can use."""


class NoStoreError(PaydeskError):
    """The embedded store was never made: nothing has been trained yet."""


def tracking_uri(settings: Settings) -> str:
    """The tracking URI that the settings mean."""
    return settings.tracking_uri or f"{_EMBEDDED}{settings.mlruns.resolve() / 'mlflow.db'}"


def without_secrets(text: object) -> str:
    """`text` with the user and password of every address in it as `***`.

    MLflow repeats the address in its own messages, so they go through here too.
    """
    hidden = re.sub(r"(?<=://)[^/\s]*@", "***@", str(text))
    return re.sub(r"(?i)((?:password|passwd|pwd|token)=)[^&\s'\"]+", r"\1***", hidden)


def open_store(uri: str, *, create: bool = False) -> MlflowClient:
    """A client of the store at `uri`, which also becomes MLflow's own current store.

    `create` makes an embedded store where there is none; who only reads does not. Raises
    NoStoreError then, StoreMovedError when it was moved, and StoreUnreachableError when it does not
    answer or `uri` is none that Paydesk knows.
    """
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # It prints the run's address, with the password that is in it.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_PRINT_MODEL_URLS_ON_CREATION", "false")
    # Its own default is to try for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    # Its news about tables and versions is not for the person who trains.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=SADeprecationWarning)
    uri = _usable(uri)
    embedded = Path(uri.removeprefix(_EMBEDDED)) if uri.startswith(_EMBEDDED) else None
    if embedded is not None:
        _check_embedded(embedded, create=create)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    with answering(f"The MLflow store at {without_secrets(uri)} cannot be reached"):
        client = MlflowClient(uri, uri)
        client.search_experiments(max_results=1)
        if embedded is not None and create:
            _make_experiments(client, embedded.parent / "artifacts")
    return client


@contextmanager
def answering(trouble: str) -> Iterator[None]:
    """Turns what a store fails with into StoreUnreachableError: `trouble`, why, the next step."""
    try:
        yield
    except FAILURES as error:
        message = (
            f"{trouble}: {_first_line(error)} Check that it runs and lets you in, and "
            f"PAYDESK_TRACKING_URI or --tracking-uri."
        )
        raise StoreUnreachableError(message) from error


def experiment(client: MlflowClient, name: str) -> str:
    """The id of the experiment `name`, which is made where there is none.

    Raises StoreUnreachableError, also when it was deleted: what was deleted by a person is for a
    person to restore.
    """
    with answering(f"The experiment {name!r} cannot be had from the MLflow store"):
        found: Experiment | None = client.get_experiment_by_name(name)
        if found is None:
            return str(client.create_experiment(name))
    if found.lifecycle_stage != "active":
        message = (
            f"The experiment {name!r} was deleted from the MLflow store, so nothing can be logged "
            f"to it. Restore it: MLFLOW_TRACKING_URI=… .paydesk/venv/bin/mlflow experiments "
            f"restore --experiment-id {found.experiment_id}; or choose another store with "
            f"--tracking-uri."
        )
        raise StoreUnreachableError(message)
    return str(found.experiment_id)


def _first_line(error: BaseException) -> str:
    lines = without_secrets(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".") + "."


def _usable(uri: str) -> str:
    # urllib would take a Windows path's drive, or a forgotten //, for something that it is not.
    scheme = uri.partition("://")[0].partition("+")[0].lower() if "://" in uri else ""
    database = uri.removeprefix(_EMBEDDED) if uri.startswith(_EMBEDDED) else ""
    if scheme not in _SCHEMES or (
        scheme == "sqlite" and (not database or database == ":memory:" or "?" in database)
    ):
        message = (
            f"The tracking URI {without_secrets(uri)!r} is none that Paydesk can use: give "
            f"sqlite:///FILE.db, http(s)://HOST:PORT or a postgresql://, mysql:// or mssql:// "
            f"address in PAYDESK_TRACKING_URI or --tracking-uri, or neither for the embedded store."
        )
        raise StoreUnreachableError(message)
    # A relative path would mean another file in every folder, and MLflow keeps absolute paths.
    return f"{_EMBEDDED}{Path(database).expanduser().resolve()}" if database else uri


def _check_embedded(database: Path, *, create: bool) -> None:
    artifacts = database.parent / "artifacts"
    locations = _experiment_locations(database)
    if locations is None and not create:
        message = (
            f"No models yet: there is no MLflow store in {database}. `make serve` trains both "
            f"models. Train one: python training/train_risk.py"
        )
        raise NoStoreError(message)
    for location in locations or ():
        if not location.startswith(artifacts.as_uri() + "/"):
            old = location.removeprefix("file://").rsplit("/artifacts/", 1)[0]
            message = (
                f"The MLflow store {database} was moved: it still points to {old}. "
                f"Move it back there, or delete {database.parent} (not its README) and train again."
            )
            raise StoreMovedError(message)
    try:
        database.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"The folder {database.parent} for the MLflow store cannot be made: {error.strerror}. "
            f"Choose another with PAYDESK_MLRUNS or --tracking-uri."
        )
        raise StoreUnreachableError(message) from error


def _experiment_locations(database: Path) -> list[str] | None:
    """Where the experiments keep artifacts; None for a store that is still to be made."""
    if not database.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            # An empty file, or one that a stopped first start left, has no tables.
            if not connection.execute(
                "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'experiments'"
            ).fetchall():
                return None
            rows = connection.execute(
                "SELECT artifact_location FROM experiments WHERE name IN ('risk', 'entities')"
            ).fetchall()
    except sqlite3.Error as error:
        message = (
            f"The MLflow store {database} cannot be read: {error}. Give the file back from a "
            f"copy, or move it away and train again."
        )
        raise StoreUnreachableError(message) from error
    return [str(location) for (location,) in rows]


def _make_experiments(client: MlflowClient, artifacts: Path) -> None:
    # MLflow keeps absolute artifact paths in its database, and puts artifacts below the working
    # directory unless an experiment is made with a place of its own.
    for name in ("risk", "entities"):
        if client.get_experiment_by_name(name) is None:
            client.create_experiment(name, artifact_location=(artifacts / name).as_uri())
