"""From a registered version to the Bento store: compared, proven, and refused where it must be."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import yaml
from conftest import ROOT, Trained, free_port
from mlflow_server import mlflow_server
from registry_store import paydesk, train, train_a_worse_forest

from paydesk.registry import promotion, versions
from paydesk.registry.kinds import KINDS
from paydesk.serving_form import ServingFormError, digest
from paydesk.tracking_store import StoreMovedError, open_store

pytest_plugins = ["registry_fixtures"]

SMALL = ["--customers", "150", "--stores", "60", "--days", "40", "--test-days", "8"]


def test_promote_compares_refuses_the_worse_and_records_force(copied: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{copied / 'mlflow.db'}"
    train_a_worse_forest(uri)
    listed = paydesk("models", "list", "--tracking-uri", uri)
    assert listed.returncode == 0
    assert "@champion" in listed.stdout
    assert "@challenger" in listed.stdout
    refused = paydesk("models", "promote", "risk", "--tracking-uri", uri)
    assert refused.returncode == 2
    assert "average_precision" in refused.stdout
    assert "risk version 2 is not promoted: " in refused.stderr
    assert "average_precision falls from" in refused.stderr
    assert "Traceback" not in refused.stderr
    client = open_store(uri)
    assert str(client.get_model_version_by_alias("risk", "champion").version) == "1"
    reasonless = paydesk("models", "promote", "risk", "--force", "--tracking-uri", uri)
    assert reasonless.returncode == 2
    assert "needs its reason" in reasonless.stderr
    forced = paydesk(
        *("models", "promote", "risk", "--force", "--why", "a drill", "--tracking-uri", uri)
    )
    assert forced.returncode == 0, forced.stderr
    version = client.get_model_version_by_alias("risk", "champion")
    assert str(version.version) == "2"
    assert version.tags["promotion.forced"].startswith("a drill (against: ")
    home = str(tmp_path / "bentoml")
    pulled = paydesk("models", "pull", "--tracking-uri", uri, BENTOML_HOME=home)
    assert pulled.returncode == 0, pulled.stderr
    assert "is version 2 of the registry" in pulled.stdout


def test_pulled_models_carry_where_they_come_from(trained: Trained) -> None:
    described = yaml.safe_load((trained.model("risk") / "model.yaml").read_text("utf-8"))
    metadata = described["metadata"]
    version = open_store(trained.tracking_uri).get_model_version_by_alias("risk", "champion")
    assert metadata["registry_name"] == "risk"
    assert metadata["registry_version"] == str(version.version)
    assert metadata["run_id"] == version.run_id
    assert metadata["serving_sha256"] == version.tags["serving.sha256"]
    assert metadata["data_sha256"] == version.tags["data.sha256"]
    assert metadata["metrics"]["average_precision"] > 0


def test_an_altered_serving_form_is_not_pulled(copied: Path, tmp_path: Path) -> None:
    uri = f"sqlite:///{copied / 'mlflow.db'}"
    described = next(copied.glob("artifacts/risk/*/artifacts/serving/model.json"))
    described.write_text(described.read_text("utf-8").replace("0.", "0.0", 1), "utf-8")
    done = paydesk("models", "pull", "--tracking-uri", uri, BENTOML_HOME=str(tmp_path / "b"))
    assert done.returncode == 2
    assert "its SHA-256 differs" in done.stderr
    assert not (tmp_path / "b" / "models" / "risk").exists()


def test_a_model_of_an_older_paydesk_is_not_served_and_says_what_to_do(
    copied: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{copied / 'mlflow.db'}"
    serving = next(copied.glob("artifacts/entities/*/artifacts/serving"))
    described = json.loads((serving / "model.json").read_text("utf-8"))
    (serving / "model.json").write_text(json.dumps({**described, "features": "0"}), "utf-8")
    open_store(uri).set_model_version_tag("entities", "1", "serving.sha256", digest(serving))
    done = paydesk("models", "pull", "--tracking-uri", uri, BENTOML_HOME=str(tmp_path / "b"))
    assert done.returncode == 2
    assert "entities version 1 cannot be served." in done.stderr
    assert "train a version with this one and promote that" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_model_altered_after_the_pull_is_not_served_and_pulled_anew(
    trained: Trained, tmp_path: Path
) -> None:
    home = tmp_path / "bentoml"
    shutil.copytree(trained.bentoml_home, home)
    altered = Trained(trained.mlruns, home).model("risk") / "model.json"
    altered.write_text(altered.read_text("utf-8").replace("0.", "0.0", 1), "utf-8")
    environment = {**trained.environment, "BENTOML_HOME": str(home)}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", "service:Paydesk.to_asgi"),
            *("--port", str(free_port())),
        ],
        cwd=ROOT,
        env={**environment, "PAYDESK_HOME": str(tmp_path), "PAYDESK_ACCESS": "local"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert "is not the one that was pulled" in done.stdout + done.stderr
    pulled = paydesk("models", "pull", "--tracking-uri", trained.tracking_uri, **environment)
    assert pulled.returncode == 0, pulled.stderr
    mended = Trained(trained.mlruns, home).model("risk") / "model.json"
    assert mended.read_bytes() == (trained.model("risk") / "model.json").read_bytes()


def test_an_unknown_version_names_the_next_step(trained: Trained) -> None:
    done = paydesk("models", "promote", "risk", "99", "--tracking-uri", trained.tracking_uri)
    assert done.returncode == 2
    assert "has no risk@99" in done.stderr
    assert "train_risk.py" in done.stderr
    done = paydesk("models", "promote", "fraud", "--tracking-uri", trained.tracking_uri)
    assert done.returncode == 2
    assert "there are risk and entities" in done.stderr


def test_an_empty_registry_says_what_to_do(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    done = paydesk("models", "list", "--tracking-uri", uri)
    assert done.returncode == 2
    assert "make serve" in done.stderr
    done = paydesk("models", "pull", "--tracking-uri", uri, BENTOML_HOME=str(tmp_path / "b"))
    assert done.returncode == 2
    assert "Train one" in done.stderr


def test_a_moved_store_is_noticed(trained: Trained, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(trained.mlruns, moved)
    with pytest.raises(StoreMovedError, match="was moved: it still points to"):
        open_store(f"sqlite:///{moved / 'mlflow.db'}")


def test_the_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    first = digest(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert digest(tmp_path) != first
    (tmp_path / "b").rename(tmp_path / "a")
    assert digest(tmp_path) == first
    (tmp_path / "a").write_bytes(b"2")
    assert digest(tmp_path) != first


def test_both_kinds_measure_their_champion(trained: Trained) -> None:
    client = open_store(trained.tracking_uri)
    for name, kind in KINDS.items():
        champion = versions.named(client, name, "champion")
        compared = promotion.compare(client, kind, champion)
        assert compared.objections == []
        logged = champion.metrics[kind.decisive]
        assert compared.challenger_metrics[kind.decisive] == pytest.approx(logged, abs=1e-6)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A real `mlflow server` with a store of its own."""
    with mlflow_server(tmp_path) as url:
        yield url


def test_a_remote_server_does_all_that_the_embedded_store_does(server: str, tmp_path: Path) -> None:
    train("train_risk", server, *SMALL)
    listed = paydesk("models", "list", "--tracking-uri", server)
    assert "@champion" in listed.stdout
    client = open_store(server)
    champion = versions.named(client, "risk", "champion")
    with versions.scratch() as folder:
        KINDS["risk"].prove(versions.download(champion, "serving", folder))
    assert mlflow.sklearn.load_model("models:/risk@champion").n_estimators == 100
    with pytest.raises(ServingFormError, match="cannot be fetched"):
        versions.download(champion, "nothing", str(tmp_path / "x"))


def test_a_server_that_does_not_answer_is_one_sentence() -> None:
    done = paydesk("models", "list", "--tracking-uri", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "cannot be reached" in done.stderr
