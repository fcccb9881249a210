"""Servers to measure: ours and the peers, each in an environment and a process group of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import psutil

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = ROOT / ".paydesk" / "bench"
BENTOML_HOME = Path(os.environ.get("BENTOML_HOME", ROOT / ".paydesk" / "bentoml"))
SERVER_CORE = "0"
CLIENT_CORE = "1"
_READY_S = 120.0
_CGROUP = Path("/sys/fs/cgroup/cpu")
_PERIOD_US = 10_000
_UVICORN = ("uvicorn", "uvloop", "httptools")
_SKLEARN = ("scikit-learn", "skops", "numpy")
# What a request carries: the transaction, {"tx": transaction}, {"tx": [transaction]}, or features.
Form = Literal["flat", "named", "listed", "frame"]
_ASGI = ("-m", "uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--port")


@dataclass(frozen=True)
class Peer:
    """A server: its name, packages, Python arguments (PORT stands for the port), route and form."""

    name: str
    packages: Sequence[str]
    command: Sequence[str]
    route: str = "/score"
    form: Form = "flat"


SCORE_PEERS = {
    "starlette": Peer(
        "bare Starlette: parses and answers, no forest",
        ("starlette", "orjson", *_UVICORN),
        (*_ASGI, "PORT", "starlette_bare:app"),
    ),
    "starlette_onnx": Peer(
        "Starlette with ONNX Runtime, no log",
        ("starlette", "orjson", "numpy", "onnxruntime", *_UVICORN),
        (*_ASGI, "PORT", "starlette_onnx:app"),
    ),
    "fastapi_onnx": Peer(
        "FastAPI with ONNX Runtime, no log",
        ("fastapi", "numpy", "onnxruntime", *_UVICORN),
        (*_ASGI, "PORT", "fastapi_onnx:app"),
    ),
    "fastapi": Peer(
        "FastAPI with scikit-learn",
        ("fastapi", *_SKLEARN, *_UVICORN),
        (*_ASGI, "PORT", "fastapi_sklearn:app"),
    ),
    "flask": Peer(
        "Flask with scikit-learn under gunicorn",
        ("flask", "gunicorn", *_SKLEARN),
        (
            "-m",
            "gunicorn",
            "--timeout",
            "0",
            "--threads",
            "4",
            "--bind",
            "127.0.0.1:PORT",
            "flask_sklearn:app",
        ),
    ),
    "bentoml": Peer(
        "plain BentoML with scikit-learn",
        ("bentoml", *_SKLEARN, *_UVICORN),
        ("-m", "bentoml", "serve", "bentoml_sklearn:Plain", "--port", "PORT"),
        form="named",
    ),
    "bentoml_batching": Peer(
        "BentoML with scikit-learn, batching",
        ("bentoml", *_SKLEARN, *_UVICORN),
        ("-m", "bentoml", "serve", "bentoml_sklearn:Batching", "--port", "PORT"),
        form="listed",
    ),
    "litserve": Peer(
        "LitServe with scikit-learn, batching",
        ("litserve==0.2.19", *_SKLEARN),
        ("litserve_sklearn.py",),
    ),
    "mlflow": Peer(
        "mlflow models serve",
        ("mlflow", "fastapi", *_SKLEARN, "pandas", *_UVICORN),
        (
            *("-m", "mlflow", "models", "serve", "--model-uri", "NATIVE", "--env-manager"),
            *("local", "--host", "127.0.0.1", "--port", "PORT", "--workers", "1"),
        ),
        "/invocations",
        "frame",
    ),
}
PREDICT_PEER = Peer(
    "Flask with sklearn-crfsuite under gunicorn: tags only",
    ("flask", "gunicorn", "sklearn-crfsuite", "skops", "numpy", "pycountry", "pydantic"),
    # One thread: a CRF that two of them ask at once mixes up their mail.
    ("-m", "gunicorn", "--timeout", "0", "--bind", "127.0.0.1:PORT", "flask_crfsuite:app"),
    "/predict",
)


@dataclass
class Server:
    """A server that runs; stopped (SIGSTOP) while others are measured."""

    port: int
    route: str
    form: Form
    process: subprocess.Popen[bytes] = field(repr=False)
    log: Path = field(repr=False)

    def pause(self) -> None:
        """Takes no time from the others."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Its turn."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def said(self) -> str:
        """The end of what it wrote."""
        return self.log.read_text("utf-8", "replace")[-3000:]


def champion(kind: str) -> tuple[Path, Path]:
    """The folders of the champion's serving form and of its native model, from the stores."""
    code = (
        "import sys, mlflow; from paydesk.tracking_store import tracking_uri;"
        "from paydesk.settings import Settings;"
        "mlflow.set_tracking_uri(tracking_uri(Settings.read()));"
        f"print(mlflow.artifacts.download_artifacts('models:/{kind}@champion'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    store = BENTOML_HOME / "models" / kind
    if done.returncode or not store.exists():
        sys.exit(f"There are no models: run `make serve` once. {done.stderr[-500:]}")
    serving = store / (store / "latest").read_text("utf-8").strip()
    return serving, Path(done.stdout.strip().splitlines()[-1])


@contextmanager
def ours(folder: Path, name: str, route: str, *, workers: int = 1) -> Iterator[Server]:
    """`bentoml serve` of this checkout, its database on this disk; on one core for one worker."""
    home = folder / f"{name}-home"
    home.mkdir()
    environment = {
        "BENTOML_HOME": str(BENTOML_HOME),
        "PAYDESK_HOME": str(home),
        "PAYDESK_ACCESS": "local",
        "BENTOML_CONFIG_OPTIONS": f"services.paydesk.workers={workers}",
    }
    command = (sys.executable, "-m", "bentoml", "serve", "service:Paydesk", "--port", "PORT")
    cores = SERVER_CORE if workers == 1 else f"{SERVER_CORE},{CLIENT_CORE}"
    with _process(
        command, ROOT, environment, folder / f"{name}.log", (route, "flat"), cores
    ) as server:
        yield server


@contextmanager
def peer(
    name: str, chosen: Peer, environment: Mapping[str, str], native: Path, folder: Path
) -> Iterator[Server]:
    """A peer in its own environment, on one core."""
    python = _environment_of(name, chosen)
    command = [str(python), *(word.replace("NATIVE", str(native)) for word in chosen.command)]
    log = folder / f"{name}.log"
    asked = chosen.route, chosen.form
    with _process(command, PEERS, environment, log, asked, SERVER_CORE) as server:
        yield server


@contextmanager
def allowed(server: Server, cores: float) -> Iterator[None]:
    """The server gets so much of the cores and no more: what others leave free is theirs.

    Needs root, and the processor's control group of Linux (version 1).
    """
    group = _CGROUP / f"paydesk-bench-{server.port}"
    try:
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(int(cores * _PERIOD_US)))
        first = psutil.Process(server.process.pid)
        for process in (first, *first.children(recursive=True)):
            (group / "cgroup.procs").write_text(str(process.pid))
    except OSError as error:
        sys.exit(f"Two workers need a share of the cores each, which needs root: {error}")
    try:
        yield
    finally:
        for process in (group / "cgroup.procs").read_text().split():
            (_CGROUP / "cgroup.procs").write_text(process)
        group.rmdir()


def _environment_of(name: str, chosen: Peer) -> Path:
    """The Python of a peer's environment, made where it is not there yet."""
    home = ENVIRONMENTS / name
    # The versions that this checkout has, where it has any: the same model needs the same.
    packages = [one if "==" in one else f"{one}=={version(one)}" for one in chosen.packages]
    installed = home / "installed"
    if not installed.exists() or installed.read_text("utf-8").split() != packages:
        print(f"Installing {chosen.name}.", file=sys.stderr)
        uv = str(Path(sys.executable).with_name("uv"))
        for words in (
            ("venv", "--quiet", "--clear", str(home)),
            ("pip", "install", "--quiet", "--python", str(home / "bin/python"), *packages),
        ):
            subprocess.run([uv, *words], check=True)
        installed.write_text("\n".join(packages), "utf-8")
    return home / "bin" / "python"


@contextmanager
def _process(
    command: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    asked: tuple[str, Form],
    cores: str,
) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = f"{Path(command[0]).parent}:{os.environ['PATH']}"
    with log.open("wb") as output:
        started = subprocess.Popen(
            ["taskset", "-c", cores, *(word.replace("PORT", str(port)) for word in command)],
            cwd=cwd,
            env={
                **os.environ,
                "BENTOML_DO_NOT_TRACK": "True",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "BENCH_PORT": str(port),
                "PATH": path,
                **environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Server(port, *asked, started, log)
    try:
        _wait(server)
        yield server
    finally:
        if started.poll() is None:
            server.resume()
            os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)


def _wait(server: Server) -> None:
    give_up = time.monotonic() + _READY_S
    while time.monotonic() < give_up and server.process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{server.port}/ping", timeout=5)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"A server did not start: {server.said()}")
