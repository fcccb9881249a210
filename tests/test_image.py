"""The container image: built from packages, run with every restriction, used through HTTP."""

import json
import re
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, Trained, free_port
from containers import TAG, Container, Platform, build, megabytes
from log_search import remember_secret
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from paydesk import __version__
from paydesk.payments.sandbox import sandbox_settings

pytest_plugins = ["image_fixtures"]

AGAIN = "localhost/paydesk-test:again"
GOLDEN = [
    ({"tx_id": "TX001", "amount": 50.0, "category": "food", "hour": 14}, "LOW", 0),
    ({"tx_id": "TX002", "amount": 1800.0, "category": "electronics", "hour": 10}, "MEDIUM", 2),
    ({"tx_id": "TX003", "amount": 4500.0, "category": "electronics", "hour": 3}, "CRITICAL", 7),
]
EMAIL = "Please pay 1,250.00 EUR to Northwind Traders Ltd from Contoso GmbH."
ORDER = {
    "accountA": "Northwind Traders Ltd",
    "accountB": "Contoso GmbH",
    "amount": "1250.00",
    "currency": "EUR",
}
NOT_INSIDE = {
    *("mlflow", "mlflow-skinny", "scikit-learn", "sklearn-crfsuite", "pandas", "pyarrow", "scipy"),
    *("skops", "joblib", "matplotlib", "skl2onnx", "pip", "setuptools", "wheel", "uv"),
}
NO_COMMAND = {"gcc", "cc", "g++", "ld", "as", "make", "git", "pip", "pip3", "uv", "apt-get", "curl"}
WRONG = {
    "no key": (True, {}, "does not start without an API key: make one with `paydesk keys new"),
    "no volume": (False, {}, "/data cannot be written by user 10001 (Read-only file system)"),
    "no database": (
        True,
        {"PAYDESK_DATABASE_URL": "postgresql://paydesk:sesame-open@127.0.0.1:1/paydesk"},
        "The database postgresql://paydesk:***@127.0.0.1:1/paydesk cannot be opened",
    ),
    "no schema": (True, {"PAYDESK_MIGRATION": "by_hand"}, "needs a migration, from 'nothing' to"),
    "no such access": (True, {"PAYDESK_ACCESS": "nobody"}, "PAYDESK_ACCESS cannot be used"),
    "no rules": (True, {"PAYDESK_RULES_FILE": "/data/none.toml"}, "/data/none.toml"),
}


@pytest.fixture(scope="module")
def volume(platform: Platform) -> str:
    """The one writable place of the service."""
    return platform.volume()


@pytest.fixture(scope="module")
def key(platform: Platform, volume: str) -> str:
    """An API key, made by the image's own command."""
    made = platform.key(volume)
    remember_secret(made)
    return made


@pytest.fixture(scope="module")
def service(
    platform: Platform, volume: str, key: str, tmp_path_factory: pytest.TempPathFactory
) -> Container:
    """The service with the sandbox bank in a container beside it; its secret is a mounted file."""
    assert key
    bank = platform.start(
        *("bank", "--host", "0.0.0.0", "--port", "3990"),  # noqa: S104 (the container's)
        settings={"PAYDESK_HOME": "/tmp/bank"},  # noqa: S108 (the container's)
    )
    wanted = sandbox_settings("http://127.0.0.1:3990")
    secrets = tmp_path_factory.mktemp("secrets")
    secret = secrets / "paydesk_bank_client_secret"
    secret.write_text(wanted.client_secret.get_secret_value(), encoding="utf-8")
    for place in (secrets, secret):
        place.chmod(0o755)
    started = platform.start(
        volume=volume,
        settings={
            f"PAYDESK_BANK_{name.upper()}": str(value)
            for name, value in wanted
            if name in wanted.model_fields_set and name != "client_secret"
        },
        options=(
            *("--network", f"container:{bank.name}"),
            *("--volume", f"{secrets}:/run/secrets:ro"),
        ),
        published=None,
    )
    started.url = bank.url  # One network for both, and its published port is the service's.
    started.wait()
    return started


def test_golden_transactions_an_email_and_a_payment(service: Container, key: str) -> None:
    with service.client(key) as client:
        for transaction, level, points in GOLDEN:
            decision = client.post("/score", json=transaction).json()
            assert (decision["risk_level"], decision["score"]) == (level, points)
        reading = client.post("/predict", json={"email": EMAIL}).json()
        payment = client.post("/payment", json=ORDER, headers={"Idempotency-Key": "first"})
        health = client.get("/health").json()
    assert (reading["amount"], reading["currency"]) == ("1250.00", "EUR")
    assert reading["accountA"] == "Northwind Traders Ltd"
    assert payment.status_code == 201, payment.text
    assert payment.json()["state"] == "accepted"
    assert payment.json()["sandbox"] is True
    assert health["status"] == "ok"


def test_without_a_key_it_answers_probes_only(service: Container) -> None:
    with service.client() as client:
        assert client.post("/score", json=GOLDEN[0][0]).status_code == 401
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 200


def test_it_runs_as_nobody_in_particular_and_writes_nowhere(service: Container) -> None:
    status = Path(f"/proc/{service.process()}/status").read_text("utf-8")
    said = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    mounts = Path(f"/proc/{service.process()}/mounts").read_text("utf-8").splitlines()
    root = next(line.split() for line in mounts if line.split()[1] == "/")
    assert said["Uid"].split() == ["10001"] * 4
    assert int(said["CapEff"], 16) == 0
    assert said["NoNewPrivs"] == "1"
    assert "ro" in root[3].split(",")


def test_idle_it_takes_less_than_200_mb(service: Container) -> None:
    status = Path(f"/proc/{service.process()}/status").read_text("utf-8")
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    assert found
    assert int(found[1]) * 1024 < 200e6


def test_killed_and_started_again_it_has_lost_nothing(service: Container, key: str) -> None:
    with service.client(key) as client:
        acknowledged = {}
        for number in range(200):
            transaction = {"tx_id": f"KILL{number}", "amount": 10.0 + number}
            acknowledged[f"KILL{number}"] = client.post("/score", json=transaction).json()
        paid = client.post("/payment", json={**ORDER, "amount": "7.00"}).json()
        before = client.get("/stats").json()
    service.kill()
    service.start()
    service.wait()
    with service.client(key) as client:
        assert client.get("/stats").json() == before
        for tx_id, decision in acknowledged.items():
            found = client.get(f"/transaction/{tx_id}").json()
            assert found["decision_id"] == decision["decision_id"]
        assert client.get(f"/payment/{paid['payment_id']}").json()["state"] == "accepted"


def test_its_log_is_json_lines(service: Container) -> None:
    lines = service.log().splitlines()
    assert lines
    assert {json.loads(line)["level"] for line in lines} == {"info"}


def test_sigterm_ends_it_cleanly(service: Container) -> None:
    with service.client() as idle:
        idle.get("/livez")
        began = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - began < 10
    service.start()
    service.wait()


def test_sigterm_ends_it_while_it_still_starts(platform: Platform, volume: str) -> None:
    starting = platform.start(volume=volume)
    time.sleep(0.5)  # It takes seconds to load everything.
    began = time.monotonic()
    assert starting.stop() == 0
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_configuration_is_refused_in_one_line(platform: Platform, case: str) -> None:
    with_volume, settings, reason = WRONG[case]
    refused = platform.start(volume=platform.volume() if with_volume else None, settings=settings)
    assert refused.code() == 2
    (line,) = refused.log().splitlines()
    assert line.startswith("Error: ")
    assert reason in line
    assert "sesame-open" not in line


def test_a_migration_by_hand_lets_it_start(platform: Platform) -> None:
    volume = platform.volume()
    assert "up to date" in platform.ask("migrate", volume=volume)
    by_hand = {"PAYDESK_MIGRATION": "by_hand", "PAYDESK_ACCESS": "anyone"}
    platform.start(volume=volume, settings=by_hand).wait()


def test_a_secret_file_that_cannot_be_read_is_named(platform: Platform, tmp_path: Path) -> None:
    secret = tmp_path / "paydesk_database_url"
    secret.write_text("postgresql://…", encoding="utf-8")
    tmp_path.chmod(0o755)
    secret.chmod(0o600)
    refused = platform.start(options=("--volume", f"{tmp_path}:/run/secrets:ro"))
    assert refused.code() == 2
    (line,) = refused.log().splitlines()
    assert "/run/secrets/paydesk_database_url cannot be read (Permission denied)" in line


def test_labels_say_what_is_inside(platform: Platform, service: Container, key: str) -> None:
    labels = json.loads(platform.engine.ask("image", "inspect", TAG))[0]["Labels"]
    with service.client(key) as client:
        served = client.get("/health").json()["models"]
    assert labels["org.opencontainers.image.version"] == __version__
    assert re.match(r"[0-9a-f]{40}(-dirty)?$", labels["org.opencontainers.image.revision"])
    for name, version in served.items():
        assert labels[f"paydesk.model.{name}.version"] == version
        assert re.fullmatch("[0-9a-f]{64}", labels[f"paydesk.model.{name}.sha256"])


def test_what_is_installed_is_what_is_locked(platform: Platform) -> None:
    code = (
        "import importlib.metadata as m, json;"
        "print(json.dumps({d.name: d.version for d in m.distributions()}))"
    )
    installed = {
        canonicalize_name(name): version
        for name, version in json.loads(_python(platform, code)).items()
    }
    locked = {}
    for line in (ROOT / "requirements" / "serve.txt").read_text("utf-8").splitlines():
        if re.match(r"[a-z0-9]", line):
            wanted = Requirement(line.rstrip("\\ "))
            if wanted.marker is None or wanted.marker.evaluate({"python_full_version": "3.11.2"}):
                locked[canonicalize_name(wanted.name)] = str(wanted.specifier).removeprefix("==")
    assert installed == locked
    assert not NOT_INSIDE & installed.keys()
    listed = json.loads(_python(platform, "print(open('/app/sbom.cdx.json').read())"))
    assert {part["name"]: part["version"] for part in listed["components"]} == {
        part["name"]: part["version"] for part in listed["components"] if part["version"]
    }
    assert {canonicalize_name(part["name"]) for part in listed["components"]} == installed.keys()


def test_no_pickle_no_build_tool_and_no_private_path(
    platform: Platform, trained: Trained, tmp_path: Path
) -> None:
    private = [str(place).encode() for place in (ROOT, trained.bentoml_home)]
    names: set[str] = set()
    for name, content in _files(platform, tmp_path / "image.tar"):
        names.add(name)
        assert not any(place in content for place in private), name
    found = {Path(name).name for name in names if "/bin/" in f"/{name}"}
    assert not [name for name in names if re.search(r"\.(pkl|pickle|joblib|skops)$", name)]
    assert not {name for name in found if name in NO_COMMAND}
    assert "app/bentoml/models/risk/latest" in names
    assert not [name for name in names if name.startswith("app/src/paydesk/registry")]


def test_it_is_small(platform: Platform) -> None:
    assert megabytes(platform.engine, TAG) < 300


def test_two_builds_are_the_same_image(
    platform: Platform, trained: Trained, tmp_path: Path
) -> None:
    again = build(trained, tmp_path, AGAIN)
    platform.engine.ask("image", "rm", AGAIN)  # The name only, if it is the same image.
    assert again == platform.engine.ask("image", "inspect", "--format", "{{.Id}}", TAG)


def test_a_base_must_be_pinned(platform: Platform) -> None:
    assert platform.engine
    done = subprocess.run(
        [sys.executable, "-m", "deploy.image", "--base", "docker.io/library/python:3.11-slim"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "is not pinned: name it with its digest" in done.stderr


def _python(platform: Platform, code: str) -> str:
    return platform.engine.ask(
        *("run", "--rm", "--network", "none", *platform.limits, "--entrypoint", "python3"),
        *(TAG, "-c", code),
    )


def _files(platform: Platform, archive: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of the image with its content; `archive` is where they may be put."""
    name = f"paydesk-test-files-{free_port()}"
    platform.engine.ask("create", "--name", name, TAG)
    platform.engine.ask("export", "--output", str(archive), name)
    platform.engine.ask("rm", "--force", name)
    with tarfile.open(archive) as opened:
        for member in opened:
            if content := opened.extractfile(member) if member.isfile() else None:
                yield member.name, content.read()
