"""A real Prometheus with the configuration of deploy/, scraping what a test names."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from conftest import ROOT, free_port

CONFIGURATION = ROOT / "deploy/prometheus/prometheus.yml"
_READY_S = 30


def program(name: str) -> str:
    """A program of Debian's package; without it the test is skipped, and in CI it fails."""
    if found := shutil.which(name):
        return found
    message = f"{name} is not here: apt-get install prometheus"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class Prometheus:
    """A running Prometheus."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The result of an instant query; one that Prometheus refuses fails the test."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": query}).json()
        assert answer["status"] == "success", f"{query}: {answer.get('error')}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def values(self, label: str, metric: str) -> list[str]:
        """The values of a label, as Grafana's `label_values(metric, label)` gives them."""
        url = f"{self.url}/api/v1/label/{label}/values"
        found: list[str] = httpx.get(url, params={"match[]": metric}).json()["data"]
        return found


@contextmanager
def prometheus(home: Path, target: str, key: str, name: str = "paydesk") -> Iterator[Prometheus]:
    """Prometheus scraping `target` (host:port) every second, with `key` for its credentials.

    `name` is that of the job of deploy/ that does it.
    """
    command = program("prometheus")
    port = free_port()
    (home / "metrics_key").write_text(key, encoding="utf-8")
    written = yaml.safe_load(CONFIGURATION.read_text("utf-8"))
    written["global"]["scrape_interval"] = "1s"
    (job,) = (job for job in written["scrape_configs"] if job["job_name"] == name)
    written["scrape_configs"] = [job]
    if "authorization" in job:
        job["authorization"]["credentials_file"] = str(home / "metrics_key")
    job["static_configs"] = [{"targets": [target]}]
    configuration = home / "prometheus.yml"
    configuration.write_text(yaml.safe_dump(written), encoding="utf-8")
    with (home / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(
                    command,
                    f"--config.file={configuration}",
                    f"--storage.tsdb.path={home / 'tsdb'}",
                ),
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        started = Prometheus(f"http://127.0.0.1:{port}")
        _wait(started, process)
        yield started
    finally:
        process.terminate()
        process.wait(30)


def _wait(started: Prometheus, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + _READY_S
    while time.monotonic() < give_up and process.poll() is None:
        try:
            # It is ready seconds before it scrapes for the first time.
            if httpx.get(f"{started.url}/-/ready").status_code == 200 and started.ask("up == 1"):
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    pytest.fail("Prometheus did not start, or could not scrape the service")
