"""What the MLflow store is left with, and a person is told, when the store or its address fails."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, free_port
from mlflow import MlflowClient
from mlflow.entities import ViewType
from mlflow_server import gate, mlflow_server
from sklearn.ensemble import RandomForestClassifier

from paydesk.registry import versions
from paydesk.serving_form import ServingFormError
from paydesk.settings import Settings
from paydesk.tracking_store import (
    NoStoreError,
    StoreUnreachableError,
    experiment,
    open_store,
    tracking_uri,
    without_secrets,
)
from training.tracking import Product, PublishError, publish, signature


@pytest.fixture
def product(tmp_path: Path) -> Product:
    """The smallest forest that can be published."""
    rows = pd.DataFrame({"a": np.arange(8.0), "b": np.arange(8.0)[::-1]})
    native = RandomForestClassifier(n_estimators=2, random_state=1).fit(rows, [0, 1] * 4)
    serving = tmp_path / "made" / "serving"
    serving.mkdir(parents=True)
    (serving / "model.json").write_text("{}", "utf-8")
    holdout = tmp_path / "made" / "holdout.txt"
    holdout.write_text("held out", "utf-8")
    return Product(
        name="risk",
        run_name="a-run",
        native=native,
        trusted_types=["sklearn.tree._tree.Tree"],
        signature=signature(["a", "b"]),
        input_example=rows.head(2),
        serving=serving,
        holdout=holdout,
        data_source="by hand",
        data_digest="0" * 64,
        card="# A card",
        params={"share_high": 0.005},
        metrics={"average_precision": 0.5},
        plots={},
    )


def embedded(tmp_path: Path) -> str:
    """The address of an embedded store that does not exist yet."""
    return f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}"


def execute(uri: str, statement: str) -> None:
    """Runs SQL in an embedded store, past MLflow."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
        connection.execute(statement)
        connection.commit()


def remains(uri: str) -> dict[str, list[str]]:
    """What people would find in the store."""
    client = MlflowClient(uri, uri)
    experiments = [found.experiment_id for found in client.search_experiments()]
    runs = client.search_runs(experiments, run_view_type=ViewType.ACTIVE_ONLY)
    folder = Path(uri.removeprefix("sqlite:///")).parent / "artifacts"
    return {
        "runs": [run.info.run_id for run in runs],
        "logged models": [found.model_id for found in client.search_logged_models(experiments)],
        "registered": [found.name for found in client.search_registered_models()],
        "versions": [str(found.version) for found in client.search_model_versions()],
        "files": [str(path) for path in folder.rglob("*") if path.is_file()],
    }


NOTHING: dict[str, list[str]] = {
    what: [] for what in ("runs", "logged models", "registered", "versions", "files")
}


def test_the_first_version_is_champion_the_next_a_challenger(
    product: Product, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = embedded(tmp_path)
    assert [publish(product, uri).alias for _ in range(2)] == ["champion", "challenger"]
    client = open_store(uri)
    assert versions.aliases(client, "risk") == {"champion": "1", "challenger": "2"}
    version = versions.named(client, "risk", "challenger")
    assert version.params["share_high"] == "0.005"
    assert set(version.tags) == {"serving.sha256", "holdout.sha256", "data.sha256"}
    with versions.scratch() as folder:
        assert versions.holdout(version, folder).read_text("utf-8") == "held out"
    assert "".join(capfd.readouterr()) == ""


@pytest.mark.parametrize(
    "table", ["tags", "registered_models", "model_versions", "registered_model_aliases"]
)
def test_a_failed_publishing_leaves_nothing_and_is_one_sentence(
    product: Product, tmp_path: Path, table: str
) -> None:
    uri = embedded(tmp_path)
    open_store(uri, create=True)
    refusal = f"BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    execute(uri, f"CREATE TRIGGER refusal {refusal}")
    with pytest.raises(PublishError, match="cannot be published") as refused:
        publish(product, uri)
    assert "nothing of it is kept" in str(refused.value)
    assert "train_risk.py" in str(refused.value)
    assert mlflow.active_run() is None
    assert remains(uri) == NOTHING
    execute(uri, "DROP TRIGGER refusal")
    assert publish(product, uri).alias == "champion"


def test_a_failed_publishing_leaves_the_versions_that_were_there(
    product: Product, tmp_path: Path
) -> None:
    uri = embedded(tmp_path)
    publish(product, uri)
    before = remains(uri)
    execute(
        uri,
        "CREATE TRIGGER refusal BEFORE INSERT ON registered_model_aliases "
        "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
    )
    with pytest.raises(PublishError):
        publish(product, uri)
    assert remains(uri) == before
    assert versions.aliases(open_store(uri), "risk") == {"champion": "1"}


def test_a_file_in_the_place_of_the_artifacts_is_one_sentence(
    product: Product, tmp_path: Path
) -> None:
    uri = embedded(tmp_path)
    open_store(uri, create=True)
    (tmp_path / "mlruns" / "artifacts").write_bytes(b"not a folder")
    with pytest.raises(PublishError, match="cannot be published"):
        publish(product, uri)
    found = remains(uri)
    assert found["versions"] == found["registered"] == []


def test_a_registry_that_does_not_say_never_loses_its_champion(
    product: Product, tmp_path: Path
) -> None:
    with mlflow_server(tmp_path) as upstream, gate(upstream) as proxy:
        assert publish(product, proxy.url).alias == "champion"
        client = open_store(proxy.url)
        assert versions.has_champion(client, "risk")
        assert not versions.has_champion(client, "entities")
        client.create_registered_model("entities")
        assert not versions.has_champion(client, "entities")
        for path in ("registered-models/alias", "registered-models/get"):
            proxy.refused = [path]
            for status, answer in (
                (403, '{"error_code": "PERMISSION_DENIED", "message": "not you"}'),
                (404, "<h1>no such page</h1>"),
            ):
                proxy.status, proxy.answer = status, answer
                with pytest.raises((PublishError, StoreUnreachableError)):
                    publish(product, proxy.url)
        with pytest.raises(StoreUnreachableError, match="does not say"):
            versions.has_champion(client, "risk")
        with pytest.raises(StoreUnreachableError, match="does not say"):
            versions.named(client, "risk", "champion")
        proxy.refused = ["model-versions/get"]
        with pytest.raises(StoreUnreachableError, match="cannot be read"):
            versions.named(client, "risk", "1")
        proxy.refused = []
        assert versions.aliases(client, "risk") == {"champion": "1"}
        assert [found.number for found in versions.versions(client, "risk")] == ["1"]
        for unknown in ("99", "9" * 40, "challenger", "½", "no/such alias"):
            with pytest.raises(versions.NoSuchVersionError, match="Train one"):
                versions.named(client, "risk", unknown)


def test_other_held_out_data_than_was_registered_is_refused(
    product: Product, tmp_path: Path
) -> None:
    uri = embedded(tmp_path)
    publish(product, uri)
    kept = next((tmp_path / "mlruns").rglob("holdout.txt"))
    kept.write_text("easier rows", "utf-8")
    champion = versions.named(open_store(uri), "risk", "champion")
    with versions.scratch() as folder, pytest.raises(ServingFormError, match="held-out data"):
        versions.holdout(champion, folder)


def test_a_password_in_the_address_is_never_shown(product: Product, tmp_path: Path) -> None:
    addresses = [f"http://anna:s3cret@127.0.0.1:{free_port()}", "file://anna:s3cret@host/mlruns"]
    with gate() as proxy:
        addresses.append(proxy.url.replace("://", "://anna:s3cret@"))
        for address in addresses:
            with pytest.raises(StoreUnreachableError) as refused:
                open_store(address)
            assert "s3cret" not in str(refused.value)
            assert "***@" in str(refused.value)
    with mlflow_server(tmp_path) as url:
        address = url.replace("://", "://anna:s3cret@")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "paydesk", "models", "pull"),
                *("--tracking-uri", address),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "has no risk@champion" in done.stderr
        publish(product, address)
        shown = done.stdout + done.stderr
    assert "s3cret" not in shown
    assert without_secrets("postgresql://u:p@s/x@db/p?password=abc&x=1 y") == (
        "postgresql://***@s/x@db/p?password=***&x=1 y"
    )


@pytest.mark.parametrize(
    "uri", ["ftp://host/x", "mlruns", "file:///mlruns", "sqlite://", "sqlite:///:memory:", "http:x"]
)
def test_an_address_of_no_known_kind_is_one_sentence(uri: str) -> None:
    with pytest.raises(StoreUnreachableError, match="none that Paydesk can use"):
        open_store(uri, create=True)


def test_a_database_without_its_driver_or_server_is_one_sentence() -> None:
    with pytest.raises(StoreUnreachableError, match="cannot be reached"):
        open_store("mysql+nosuchdriver://host/db")


def test_a_relative_address_means_one_file(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    publish(product, "sqlite:///own/mlflow.db")
    monkeypatch.chdir("/")
    client = open_store(f"sqlite:///{tmp_path}/own/mlflow.db")
    assert versions.has_champion(client, "risk")


@pytest.mark.parametrize("left", ["", "CREATE TABLE other (x INTEGER)"])
def test_a_database_without_tables_is_a_new_store(
    product: Product, tmp_path: Path, left: str
) -> None:
    uri = embedded(tmp_path)
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "mlflow.db").touch()
    if left:
        execute(uri, left)
    with pytest.raises(NoStoreError, match="make serve"):
        open_store(uri)
    assert publish(product, uri).alias == "champion"


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database at all, whatever its name says", "utf-8")
    with pytest.raises(StoreUnreachableError, match="cannot be read: file is not a database"):
        open_store(f"sqlite:///{tmp_path / 'mlflow.db'}", create=True)


def test_an_experiment_that_was_deleted_is_named(product: Product, tmp_path: Path) -> None:
    uri = embedded(tmp_path)
    client = open_store(uri, create=True)
    deleted = experiment(client, "risk")
    client.delete_experiment(deleted)
    with pytest.raises(StoreUnreachableError, match=f"restore --experiment-id {deleted}"):
        publish(product, uri)
    client.restore_experiment(deleted)
    assert publish(product, uri).alias == "champion"


def test_looking_makes_no_store(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paydesk", "models", "list"],
        cwd=ROOT,
        env={**os.environ, "PAYDESK_MLRUNS": str(tmp_path / "mlruns"), "PAYDESK_TRACKING_URI": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No models yet" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize(
    "start",
    [
        "import runpy; runpy.run_path('training/train_risk.py')",
        "import training.tracking",
        "import paydesk.registry.bento",
        "import paydesk.tracking_store",
    ],
)
def test_telemetry_is_off_however_paydesk_is_started(start: str) -> None:
    # MLflow takes these for signs of a test and stays silent by itself.
    signs = ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "PYTEST_CURRENT_TEST", "CI")
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"{start}\nfrom mlflow.telemetry import client, utils\nimport json\n"
            "print(json.dumps([client.get_telemetry_client() is None, "
            "bool(utils._IS_IN_CI_ENV_OR_TESTING)]))",
        ],
        cwd=ROOT,
        env={
            "PYTHONPATH": str(ROOT),
            **{name: value for name, value in os.environ.items() if name not in signs},
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    none, recognized = json.loads(done.stdout)
    assert none
    assert not recognized


def test_the_settings_mean_the_embedded_store(tmp_path: Path) -> None:
    assert tracking_uri(Settings(mlruns=tmp_path)) == f"sqlite:///{tmp_path.resolve()}/mlflow.db"
