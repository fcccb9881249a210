"""The service alone: one process as in a container, or the workers of `bentoml serve`."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from conftest import ROOT, Trained, free_port
from log_search import remember_home, remember_secret

_READY_S = 90.0


class Service:
    """A running service; the context ends with a SIGTERM, after which nothing of it is left.

    With a number of `workers`, BentoML's supervisor runs them.
    """

    def __init__(
        self,
        trained: Trained,
        home: Path,
        settings: Mapping[str, str] | None = None,
        *,
        workers: int | None = None,
        port: int | None = None,
    ) -> None:
        self.home = home
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **trained.environment,
            "PAYDESK_HOME": str(home),
            "PAYDESK_ACCESS": "local",
            "BENTOML_CONFIG_OPTIONS": f"services.paydesk.workers={workers or 1}",
            **(settings or {}),
        }
        self._command = [sys.executable, "-m", "paydesk", "run", "--port", str(self.port)]
        if workers is not None:
            served = ("bentoml", "serve", "service:Paydesk", "--host", "127.0.0.1")
            self._command[2:4] = served
        self.log = home / "service.log"
        self._workers: set[psutil.Process] = set()
        remember_home(home)

    def __enter__(self) -> "Service":
        self.start()
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts it, and does not wait."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Returns when it is ready; fails the test with its log when it does not get so."""
        give_up = time.monotonic() + _READY_S
        while time.monotonic() < give_up and self.process.poll() is None:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.1)
        said = self.log.read_text("utf-8", "replace")[-3000:]
        self.kill()
        pytest.fail(f"the service did not start: {said}")

    def stop(self, patience_s: float = 60.0) -> int:
        """Ends it as an operator does; its exit code."""
        with suppress(psutil.NoSuchProcess):
            self._workers.update(psutil.Process(self.process.pid).children(recursive=True))
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(patience_s)
        finally:
            self.kill()

    def kill(self) -> None:
        """Ends it, and all its workers, as a power cut does."""
        # The workers have sessions of their own, and would go on serving without the first process.
        with suppress(psutil.NoSuchProcess):
            self._workers.update(psutil.Process(self.process.pid).children(recursive=True))
        self.process.kill()
        for worker in self._workers:
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        self.process.wait()
        psutil.wait_procs(self._workers, 10)
        self._workers.clear()

    def processes(self) -> list[psutil.Process]:
        """All that it runs as."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def client(self, key: str | None = None, timeout: float = 30.0) -> httpx.Client:
        """An HTTP client of it."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of its log."""
        text = self.log.read_text("utf-8", "replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def new_key(service: Service, *scopes: str) -> str:
    """A key made by the CLI, as an operator makes it."""
    done = paydesk(service, "keys", "new", "test", *(f"--scope={scope}" for scope in scopes))
    assert done.returncode == 0, done.stderr
    key = done.stdout.strip()
    remember_secret(key)
    remember_secret(key.split("_", 2)[2])
    return key


def paydesk(service: Service, *words: str) -> subprocess.CompletedProcess[str]:
    """The CLI, with the settings of the service."""
    return subprocess.run(
        [sys.executable, "-m", "paydesk", *words],
        cwd=ROOT,
        env={**service.environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
