"""/score, one at a time: ours beside what a user would pick instead, and beside the limit.

    python benchmarks/score.py [PEER …]

Each server has one process that works, on core 0; wrk is on core 1 with 16 connections. All have
the same champion forest and are sent the same transactions. Ours also applies the rules, validates,
and answers only once the decision is on disk; the others do not. Prints a Markdown table and JSON.
It needs the models of `make serve`, wrk (Debian: apt-get install wrk) and a package index: every
peer has an environment of its own, kept in .paydesk/bench.
"""

import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"
ENVIRONMENTS = ROOT / ".paydesk" / "bench"
BENTOML_HOME = Path(os.environ.get("BENTOML_HOME", ROOT / ".paydesk" / "bentoml"))
CONNECTIONS = 16
SECONDS = 10
WARM_S = 3
READY_S = 120.0
OURS = "Paydesk: rules, forest, decision log on disk"

_UVICORN = ("uvicorn", "uvloop", "httptools")
_SKLEARN = ("scikit-learn", "skops", "numpy")
_ASGI = ("-m", "uvicorn", "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--port")


@dataclass(frozen=True)
class Peer:
    """A server: its name, packages, Python arguments (PORT stands for the port), and route."""

    name: str
    packages: Sequence[str]
    command: Sequence[str]
    route: str = "/score"


PEER_LIST = {
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
        ("-m", "gunicorn", "--threads", "4", "--bind", "127.0.0.1:PORT", "flask_sklearn:app"),
    ),
    "bentoml": Peer(
        "plain BentoML with scikit-learn",
        ("bentoml", *_SKLEARN, *_UVICORN),
        ("-m", "bentoml", "serve", "bentoml_sklearn:Plain", "--port", "PORT"),
    ),
    "bentoml_batching": Peer(
        "BentoML with scikit-learn, batching",
        ("bentoml", *_SKLEARN, *_UVICORN),
        ("-m", "bentoml", "serve", "bentoml_sklearn:Batching", "--port", "PORT"),
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
    ),
}


@dataclass(frozen=True)
class Measured:
    """Requests a second, and milliseconds of latency at 16 connections."""

    rate: float
    p50_ms: float
    p99_ms: float


def main() -> None:
    """Measures ours and the peers that are named (all by default)."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is not here: apt-get install wrk")
    asked = sys.argv[1:] or list(PEER_LIST)
    forest, native = champion()
    results: dict[str, Measured] = {}
    with tempfile.TemporaryDirectory(dir=ROOT / ".paydesk") as scratch:
        folder = Path(scratch)
        with ours(folder) as port:
            results["paydesk"] = load(port, "/score", folder, forest)
        print(f"{OURS}: {results['paydesk']}", file=sys.stderr)
        for name in asked:
            peer = PEER_LIST[name]
            with serving(name, peer, forest, native, folder) as port:
                results[name] = load(port, peer.route, folder, forest)
            print(f"{peer.name}: {results[name]}", file=sys.stderr)
    show(results)


def champion() -> tuple[Path, Path]:
    """The folders of the champion's serving form and of its native model, from MLflow's store."""
    code = (
        "import mlflow; from paydesk.registry import versions; import sys;"
        "from paydesk.tracking_store import open_store, tracking_uri;"
        "from paydesk.settings import Settings;"
        "uri = tracking_uri(Settings()); mlflow.set_tracking_uri(uri);"
        "print(mlflow.artifacts.download_artifacts('models:/risk@champion'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    store = BENTOML_HOME / "models" / "risk"
    if done.returncode or not store.exists():
        sys.exit("There are no models: run `make serve` once.")
    serving = store / (store / "latest").read_text("utf-8").strip()
    return serving, Path(done.stdout.strip().splitlines()[-1])


@contextmanager
def ours(folder: Path) -> Iterator[int]:
    """`bentoml serve` of this checkout, one worker, its database on this disk."""
    environment = {
        "BENTOML_HOME": str(BENTOML_HOME),
        "PAYDESK_HOME": str(folder / "home"),
        "PAYDESK_ACCESS": "local",
        "BENTOML_CONFIG_OPTIONS": "services.paydesk.workers=1",
    }
    (folder / "home").mkdir()
    command = (sys.executable, "-m", "bentoml", "serve", "service:Paydesk", "--port", "PORT")
    with process(command, ROOT, environment, folder) as port:
        yield port


@contextmanager
def serving(name: str, peer: Peer, forest: Path, native: Path, folder: Path) -> Iterator[int]:
    """A peer in its own environment."""
    python = environment_of(name, peer)
    environment = {"BENCH_FOREST": str(forest), "BENCH_NATIVE": str(native / "model.skops")}
    command = [str(python), *(w.replace("NATIVE", str(native)) for w in peer.command)]
    with process(command, PEERS, environment, folder) as port:
        yield port


def environment_of(name: str, peer: Peer) -> Path:
    """The Python of a peer's environment, made where it is not there yet."""
    home = ENVIRONMENTS / name
    if not (home / "done").exists():
        print(f"Installing {peer.name}.", file=sys.stderr)
        # The versions that this checkout has, where it has any: the same forest needs the same.
        packages = [p if "==" in p else f"{p}=={version(p)}" for p in peer.packages]
        uv = str(Path(sys.executable).with_name("uv"))
        for words in (
            ("venv", "--quiet", "--clear", str(home)),
            (
                *("pip", "install", "--quiet", "--python", str(home / "bin/python")),
                *packages,
            ),
        ):
            subprocess.run([uv, *words], check=True)
        (home / "done").touch()
    return home / "bin" / "python"


@contextmanager
def process(
    command: Sequence[str], cwd: Path, environment: dict[str, str], folder: Path
) -> Iterator[int]:
    """A server on core 0 and a free port, which it yields; ended with all its children."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = f"{Path(command[0]).parent}:{os.environ['PATH']}"
    log = folder / "server.log"
    with log.open("wb") as output:
        started = subprocess.Popen(
            ["taskset", "-c", "0", *(word.replace("PORT", str(port)) for word in command)],
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
    try:
        wait(port, started, log)
        yield port
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        try:
            started.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)


def wait(port: int, started: subprocess.Popen[bytes], log: Path) -> None:
    """Until something answers on the port."""
    give_up = time.monotonic() + READY_S
    while time.monotonic() < give_up and started.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    sys.exit(f"a server did not start: {log.read_text('utf-8', 'replace')[-3000:]}")


def load(port: int, route: str, folder: Path, forest: Path) -> Measured:
    """What wrk measures on core 1, after a while of warming up."""
    script = folder / "post.lua"
    script.write_text(lua(route, forest), encoding="utf-8")

    def wrk(seconds: int) -> str:
        done = subprocess.run(
            [
                *("taskset", "-c", "1", "wrk", "--threads", "1", "--latency"),
                *("--connections", str(CONNECTIONS), "--duration", f"{seconds}s"),
                *("--script", str(script), f"http://127.0.0.1:{port}{route}"),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    wrk(WARM_S)
    said = wrk(SECONDS)
    if refused := re.search(r"Non-2xx or 3xx responses: (\d+)", said):
        said = (folder / "server.log").read_text("utf-8", "replace")[-3000:]
        sys.exit(f"{refused[1]} requests were refused at {route}: {said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    shares = dict(re.findall(r"^\s+(50|99)%\s+(\S+)$", said, re.MULTILINE))
    if rate is None:
        sys.exit(f"wrk said: {said}")
    return Measured(float(rate[1]), milliseconds(shares["50"]), milliseconds(shares["99"]))


def milliseconds(text: str) -> float:
    """wrk's `1.23ms`, `45.00us` or `1.20s`."""
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def lua(route: str, forest: Path) -> str:
    """What wrk sends: transactions of every kind, in turn."""
    from paydesk.risk.forest import Forest  # noqa: PLC0415 (after the check for wrk)

    encoder = Forest.load(forest).encoder
    kinds = ("food", "electronics", "fuel", "groceries", "travel")
    bodies = []
    for n in range(100):
        amount, kind, hour = 12.5 + 37 * n, kinds[n % 5], n % 24
        body: object = {"tx_id": f"TX{n:04}", "amount": amount, "category": kind, "hour": hour}
        if route == "/invocations":  # mlflow has the forest alone, and wants its features.
            row = encoder.row(amount, hour, kind)[0].tolist()
            body = {"dataframe_split": {"columns": encoder.names, "data": [row]}}
        bodies.append(json.dumps(body))
    listed = ",\n".join(f"[==[{body}]==]" for body in bodies)
    return f"""local bodies = {{{listed}}}
local headers = {{["Content-Type"] = "application/json"}}
local n = 0
request = function()
    n = n % #bodies + 1
    return wrk.format("POST", nil, headers, bodies[n])
end
"""


def show(results: dict[str, Measured]) -> None:
    """The table, and the same as JSON."""
    mine = results["paydesk"]
    limit = results.get("starlette")
    print("| server, one worker | requests/s | p50 ms | p99 ms | Paydesk is | of bare Starlette |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, found in sorted(results.items(), key=lambda item: -item[1].rate):
        words = OURS if name == "paydesk" else PEER_LIST[name].name
        share = f"{found.rate / limit.rate:.0%}" if limit else ""
        print(
            f"| {words} | {found.rate:,.0f} | {found.p50_ms:.2f} | {found.p99_ms:.2f} "
            f"| {mine.rate / found.rate:.2f} x | {share} |"
        )
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    print(
        json.dumps(
            {
                "results": {name: found.__dict__ for name, found in results.items()},
                "connections": CONNECTIONS,
                "seconds": SECONDS,
                "machine": f"{platform.platform()}, {os.cpu_count()} cores",
                "python": platform.python_version(),
                "commit": commit,
            }
        )
    )


if __name__ == "__main__":
    main()
