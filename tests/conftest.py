"""The real parts that tests share: trained models, a Bento store, and a running Paydesk."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import log_search
import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

ROOT = Path(__file__).parent.parent
_STATE = ROOT / ".paydesk" / "test"
_TRAINED_BY = (
    *("training", "paydesk/risk", "paydesk/entities", "paydesk/registry"),
    *("paydesk/serving_form.py", "paydesk/tracking_store.py", "requirements/train.txt"),
)


class _Together(LoadFileScheduling):  # type: ignore[misc]  # which has no types
    """Gives each process a file at a time, and one process what a broker or an image serves."""

    def _split_scope(self, nodeid: str) -> str:
        name = Path(nodeid.split("::", 1)[0]).stem
        kind = name.split("_")[1]
        return {"rolling": "test_image", "stream": "test_stream"}.get(kind, name)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Together:
    """How the processes of a run share the tests."""
    return _Together(config, log)


@pytest.fixture(scope="session", autouse=True)
def _no_secret_in_any_log() -> Iterator[None]:
    """At the end of the session: no log of it has a secret, a name of an account, or a mail."""
    yield
    assert log_search.found() == []


@dataclass(frozen=True)
class Trained:
    """A registry with both champions, and a Bento store with both models."""

    mlruns: Path
    bentoml_home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which Paydesk finds them."""
        return {
            **os.environ,
            "PAYDESK_MLRUNS": str(self.mlruns),
            "BENTOML_HOME": str(self.bentoml_home),
            "BENTOML_DO_NOT_TRACK": "True",
        }

    @property
    def tracking_uri(self) -> str:
        """The embedded store's URI."""
        return f"sqlite:///{self.mlruns / 'mlflow.db'}"

    def model(self, name: str) -> Path:
        """The folder of the serving form that is served."""
        folder = self.bentoml_home / "models" / name
        return folder / (folder / "latest").read_text(encoding="utf-8").strip()


@pytest.fixture(scope="session")
def trained() -> Trained:
    """Both models, trained by the real scripts; kept for the next run while their sources stay.

    PAYDESK_TEST_MODELS names a checkout whose own are used instead: CI's `make serve` made some.
    """
    if given := os.environ.get("PAYDESK_TEST_MODELS"):
        return Trained(Path(given) / "mlruns", Path(given) / ".paydesk" / "bentoml")
    digest = hashlib.sha256()
    for name in _TRAINED_BY:
        place = ROOT / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(path.read_bytes())
    home = _STATE / digest.hexdigest()[:16]
    made = Trained(home / "mlruns", home / "bentoml")
    _STATE.mkdir(parents=True, exist_ok=True)
    with (_STATE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # The other process of this run may be training.
        if not (home / "done").exists():
            for older in _STATE.iterdir():
                if older.is_dir():
                    shutil.rmtree(older)
            home.mkdir()
            environment = {**made.environment, "PAYDESK_HOME": str(home)}
            subprocess.run(
                [sys.executable, "-m", "training.first"], cwd=ROOT, env=environment, check=True
            )
            (home / "done").touch()
    return made


@dataclass(frozen=True)
class Running:
    """A Paydesk that `paydesk serve` started: the service with the sandbox bank."""

    url: str
    welcome: str
    home: Path

    @property
    def curl_lines(self) -> list[str]:
        """The lines that it printed to be pasted."""
        return re.findall(r"^ *(curl .*)$", self.welcome, re.MULTILINE)


@pytest.fixture(scope="session")
def running(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for the whole session; tests use transaction ids of their own."""
    home = tmp_path_factory.mktemp("paydesk")
    with serving(trained, home, free_port()) as started:
        yield started


@pytest.fixture
def client(running: Running) -> Iterator[httpx.Client]:
    """An HTTP client of the running service."""
    with httpx.Client(base_url=running.url, timeout=30) as client:
        yield client


class serving:  # noqa: N801 (reads as a verb: `with serving(...)`)
    """`paydesk serve` in a process of its own, from its welcome to a SIGTERM."""

    def __init__(
        self,
        trained: Trained,
        home: Path,
        port: int,
        settings: Mapping[str, str] | None = None,
        *,
        tls: bool = False,
    ) -> None:
        self._environment = {
            **trained.environment,
            "PAYDESK_HOME": str(home),
            **(settings or {}),
        }
        self._home = home
        log_search.remember_home(home)
        self._port = port
        self._tls = tls

    def __enter__(self) -> Running:
        said = self._home / "welcome.txt"
        with said.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "paydesk", "serve", "--port", str(self._port)),
                    *(["--tls"] if self._tls else []),
                ],
                cwd=ROOT,
                env=self._environment,
                stderr=output,
            )
        for _ in range(1_200):
            welcome = said.read_text("utf-8")
            if "Ctrl-C" in welcome:
                scheme = "https" if self._tls else "http"
                return Running(f"{scheme}://127.0.0.1:{self._port}", welcome, self._home)
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.process.kill()
        pytest.fail(f"paydesk serve did not start: {said.read_text('utf-8')}")

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
