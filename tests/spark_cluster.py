"""Spark's own standalone cluster on this machine: a master and workers, a process each."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark

_READY_S = 90.0
_HOST = "127.0.0.1"


@contextmanager
def running_cluster(folder: Path, workers: int) -> Iterator[str]:
    """The URL of a master with so many workers of a core each; their files go into `folder`."""
    port, page, *ports = (_free_port() for _ in range(2 + workers))
    master = f"spark://{_HOST}:{port}"
    with ExitStack() as stack:
        deploy = "org.apache.spark.deploy"
        address = ("--host", _HOST, "--port", str(port), "--webui-port", str(page))
        stack.enter_context(_process(folder, "master", f"{deploy}.master.Master", *address))
        for number, worker_page in enumerate(ports):
            room = ("--cores", "1", "--memory", "1g", "--webui-port", str(worker_page))
            where = ("--host", _HOST, "--work-dir", str(folder / f"work{number}"), master)
            name = f"worker{number}"
            stack.enter_context(_process(folder, name, f"{deploy}.worker.Worker", *room, *where))
        give_up = time.monotonic() + _READY_S
        while _alive(page) < workers:
            if time.monotonic() > give_up:
                said = "\n".join(log.read_text("utf-8", "replace") for log in folder.glob("*.log"))
                raise RuntimeError(f"the cluster did not start: {said[-3000:]}")
            time.sleep(0.2)
        yield master


@contextmanager
def _process(folder: Path, name: str, *words: str) -> Iterator[None]:
    home = Path(pyspark.__file__).parent
    with (folder / f"{name}.log").open("wb") as log:
        started = subprocess.Popen(
            [str(home / "bin" / "spark-class"), *words],
            env={**os.environ, "SPARK_HOME": str(home), "SPARK_DAEMON_MEMORY": "256m"},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        started.terminate()
        started.wait(30)


def _alive(page: int) -> int:
    try:
        with urllib.request.urlopen(f"http://{_HOST}:{page}/json/", timeout=5) as answer:
            return int(json.load(answer)["aliveworkers"])
    except OSError:
        return 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def spark_submit() -> str:
    """The program, of the environment that this Python is of."""
    return str(Path(sys.executable).with_name("spark-submit"))
