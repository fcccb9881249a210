"""A registry of a test's own."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from conftest import Trained


@pytest.fixture
def copied(trained: Trained, tmp_path: Path) -> Path:
    """A server-less copy of the trained store whose paths are right for where it is."""
    mlruns = tmp_path / "mlruns"
    shutil.copytree(trained.mlruns, mlruns)
    with sqlite3.connect(mlruns / "mlflow.db") as database:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("model_versions", "storage_location"),
            ("model_versions", "source"),
            ("logged_models", "artifact_location"),
        ):
            database.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)",  # noqa: S608
                (str(trained.mlruns), str(mlruns)),
            )
    return mlruns
