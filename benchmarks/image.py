"""The image of a stock BentoML service with scikit-learn and MLflow, and ours: size, start, memory.

    python -m benchmarks.image

Both are built here with podman on the same Debian base (with `passwd`, which BentoML's Dockerfile
asks for, and without its compiler and git, which would add 638 MB to the stock one), run with the
same restrictions as far as the stock one stands them, and measured three times each. The stock
service has the same champion forest, imported by `bentoml.mlflow`, and no decision log, e-mails or
payments. It needs the models of `make serve`, podman, mmdebstrap and a package index.
"""

import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks import report
from deploy.image.base import make_base
from deploy.image.engine import Engine

ROOT = Path(__file__).parent.parent
BASE = "localhost/paydesk-bench:base"
STOCK = "localhost/paydesk-bench:stock"
OURS = "localhost/paydesk-bench:ours"
STARTS = 3
READY_S = 60.0
IDLE_S = 5.0
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

SERVICE = f'''
import bentoml
import pandas as pd

image = bentoml.images.Image(
    python_version="3.11", base_image="{BASE}", distro="none"
).python_packages(PACKAGES)


@bentoml.service(name="stock", image=image)
class Stock:
    risk = bentoml.models.BentoModel("stock_risk:latest")

    def __init__(self) -> None:
        self.forest = bentoml.mlflow.load_model(self.risk)

    @bentoml.api
    def score(self, rows: list[dict[str, float]]) -> list[float]:
        return [float(p) for p in self.forest.predict(pd.DataFrame(rows))]
'''
PACKAGES = ("bentoml", "mlflow", "scikit-learn", "skops", "pandas", "numpy")
LOCKED_DOWN = (
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL"),  # noqa: S108 (the container's)
    *("--security-opt", "no-new-privileges", "--memory", "512m", "--pids-limit", "256"),
)


@dataclass(frozen=True)
class Figures:
    """Megabytes of the image beyond its base, seconds until ready, megabytes when idle."""

    size_mb: float
    ready_s: float
    idle_mb: float


def main() -> None:
    """Builds both, runs both, prints a table and JSON."""
    engine = Engine("podman")
    make_base(engine, BASE, "passwd")
    build_stock()
    run("-m", "deploy.image", "--tag", OURS, "--base", BASE)
    stock = measure(
        engine,
        STOCK,
        # It keeps files in its home: with a read-only root it does not start otherwise.
        (*("--env", "BENTOML_HOME=/tmp/bentoml"), *("--env", "HOME=/tmp")),
    )
    ours = measure(
        engine, OURS, ("--env", "PAYDESK_ACCESS=anyone", "--env", "PAYDESK_HOME=/tmp/paydesk")
    )
    figures = (
        ("image beyond the base, MB", stock.size_mb, ours.size_mb),
        ("ready, s", stock.ready_s, ours.ready_s),
        ("memory when idle, MB", stock.idle_mb, ours.idle_mb),
    )
    report.table(
        ("", "stock BentoML, scikit-learn, MLflow", "Paydesk", "ratio"),
        [[name, f"{a:.1f}", f"{b:.1f}", f"{a / b:.1f}"] for name, a, b in figures],
    )
    report.keep("image", {"stock": stock, "paydesk": ours, "starts": STARTS})
    sizes = {"stock BentoML, scikit-learn, MLflow": stock.size_mb, "Paydesk": ours.size_mb}
    report.bars("image", "The image beyond its base", "MB", sizes, "Paydesk")
    engine.ask("image", "rm", "--force", STOCK, OURS, BASE)


def build_stock() -> None:
    """The stock image, by `bentoml build` and `bentoml containerize`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        home, sources = folder / "home", folder / "src"
        sources.mkdir()
        packages = ", ".join(f'"{name}=={version(name)}"' for name in PACKAGES)
        written = SERVICE.replace("PACKAGES", packages)
        (sources / "service.py").write_text(written, encoding="utf-8")
        configured = folder / "uv.toml"
        configured.write_text("system-certs = true\nno-cache = true\n", encoding="utf-8")
        mounted = [
            f"{CERTIFICATES}:{CERTIFICATES}:ro",
            f"{Path(sys.executable).with_name('uv')}:/usr/local/bin/uv:ro",
            f"{configured}:/etc/uv/uv.toml:ro",
        ]
        engine = folder / "containers.conf"
        engine.write_text(f"[containers]\nvolumes = {json.dumps(mounted)}\n", encoding="utf-8")
        environment = {"BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
        store = f"sqlite:///{ROOT / 'mlruns' / 'mlflow.db'}"
        imported = (
            "import bentoml; bentoml.mlflow.import_model('stock_risk', 'models:/risk@champion')"
        )
        run("-c", imported, MLFLOW_TRACKING_URI=store, **environment)
        run("-m", "bentoml", "build", str(sources), **environment)
        run(
            *("-m", "bentoml", "containerize", "stock:latest", "--backend", "podman"),
            *("-t", STOCK, "--opt", "timestamp=0"),
            CONTAINERS_CONF=str(engine),
            BUILDAH_ISOLATION="chroot",
            **environment,
        )


def run(*words: str, **environment: str) -> None:
    """Runs Python so; what it says is shown when it fails."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)} failed: {done.stdout[-2000:]}{done.stderr[-4000:]}")


def measure(engine: Engine, image: str, options: Iterable[str]) -> Figures:
    """The medians of some starts."""
    whole, below = (
        int(json.loads(engine.ask("image", "inspect", name))[0]["Size"]) for name in (image, BASE)
    )
    starts = [start(engine, image, tuple(options)) for _ in range(STARTS)]
    ready, idle = (statistics.median(figures) for figures in zip(*starts, strict=True))
    return Figures((whole - below) / 1e6, ready, idle)


def start(engine: Engine, image: str, options: tuple[str, ...]) -> tuple[float, float]:
    """Seconds from `podman run` to ready, and its megabytes when idle, as podman counts."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # Nested machines do not let the engine raise its own limits.
    files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 20_000)
    limits = ("--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=4096:4096")
    began = time.monotonic()
    name = engine.ask(
        *("run", "--detach", "--publish", f"127.0.0.1:{port}:3000", *LOCKED_DOWN, *limits),
        *(*options, image),
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                    break
            except OSError:
                if time.monotonic() - began > READY_S:
                    sys.exit(f"{image} did not start: {engine.ask('logs', name)[-3000:]}")
                time.sleep(0.02)
        ready = time.monotonic() - began
        time.sleep(IDLE_S)
        used = engine.ask("stats", "--no-stream", "--format", "{{.MemUsage}}", name)
        return ready, megabytes(used.partition("/")[0].strip())
    finally:
        engine.ask("rm", "--force", "--time", "0", name)


def megabytes(text: str) -> float:
    """podman's `163.2MB`."""
    number, unit = re.fullmatch(r"([\d.]+)(kB|MB|GB)", text).groups()  # type: ignore[union-attr]
    return float(number) * {"kB": 1e-3, "MB": 1.0, "GB": 1e3}[unit]


if __name__ == "__main__":
    main()
