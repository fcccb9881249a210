"""The MLflow store: embedded under mlruns/ by default, or a server by its address."""

import logging
import os
import sqlite3
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from paydesk.errors import PaydeskError
from paydesk.settings import Settings

CHAMPION = "champion"
CHALLENGER = "challenger"
SERVING = "serving"
SERVING_DIGEST = "serving.sha256"


class StoreMovedError(PaydeskError):
    """The embedded store was moved: its database still names the old folder."""


class StoreUnreachableError(PaydeskError):
    """The MLflow server does not answer, or refuses."""


def tracking_uri(settings: Settings) -> str:
    """The tracking URI that the settings mean."""
    return settings.tracking_uri or f"sqlite:///{settings.mlruns.resolve() / 'mlflow.db'}"


def open_store(uri: str) -> MlflowClient:
    """A client of the store at `uri`, which also becomes MLflow's own current store.

    An embedded store is made on first use. Raises StoreMovedError when it was moved, and
    StoreUnreachableError when a server does not answer.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Its news about tables and versions is not for the person who trains.
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    if uri.startswith("sqlite:///"):
        _prepare_embedded(Path(uri.removeprefix("sqlite:///")))
        return MlflowClient(uri, uri)
    # Its own default is to try for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    client = MlflowClient(uri, uri)
    try:
        client.search_experiments(max_results=1)
    except MlflowException as error:
        message = (
            f"The MLflow server at {uri} cannot be reached: {error}. Check that it runs, and "
            f"PAYDESK_TRACKING_URI or --tracking-uri."
        )
        raise StoreUnreachableError(message) from error
    return client


def _prepare_embedded(database: Path) -> None:
    # MLflow keeps absolute artifact paths in its database, and puts artifacts below the working
    # directory unless an experiment is made with a place of its own.
    folder = database.parent
    folder.mkdir(parents=True, exist_ok=True)
    artifacts = folder / "artifacts"
    if database.exists():
        _refuse_moved(database, artifacts)
    client = MlflowClient()
    for name in ("risk", "entities"):
        if client.get_experiment_by_name(name) is None:
            client.create_experiment(name, artifact_location=(artifacts / name).as_uri())


def _refuse_moved(database: Path, artifacts: Path) -> None:
    with sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True) as connection:
        rows = connection.execute(
            "SELECT artifact_location FROM experiments WHERE name IN ('risk', 'entities')"
        ).fetchall()
    for (location,) in rows:
        if not str(location).startswith(artifacts.as_uri()):
            old = str(location).removeprefix("file://").rsplit("/artifacts/", 1)[0]
            message = (
                f"The MLflow store {database} was moved: it still points to {old}. "
                f"Move it back there, or delete {database.parent} (not its README) and train again."
            )
            raise StoreMovedError(message)
