"""A bank that takes calls and never answers: do /score and /predict keep their latency?

    python benchmarks/dead_bank.py

It plays the dead bank (accepts connections, says nothing), starts a service in front of it, and
prints p50 and p99 of /score and /predict alone and while 20 clients keep paying, their ratio, and
how long /payment takes to say 503. The peer is the same service with nobody paying. It needs the
models of `make serve` (BENTOML_HOME=.paydesk/bentoml).
"""

import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import httpx

ROOT = Path(__file__).parent.parent
PAYERS = 20
SECONDS = 8.0
OPEN_WITHIN_S = 60.0
BODIES = {
    "/score": {"amount": 1800.0, "category": "electronics", "hour": 10},
    "/predict": {"email": "Please pay 1,250.00 EUR to Northwind Traders Ltd from Contoso GmbH."},
}


class DeadBank:
    """Listens, accepts, and never says a word."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listening.getsockname()[1]
        self._kept: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            self._kept.append(self._listening.accept()[0])


def main() -> None:
    """Starts a service in front of the dead bank, measures, prints a table and JSON."""
    bank = DeadBank()
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        process = start(Path(home), port, bank.port)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_healthy(url)
            alone = {path: measure(url, path) for path in BODIES}
            stop = threading.Event()
            refusals: list[float] = []
            payers = [
                threading.Thread(target=pay, args=(url, stop, refusals)) for _ in range(PAYERS)
            ]
            for payer in payers:
                payer.start()
            time.sleep(2)
            beside = {path: measure(url, path) for path in BODIES}
            until = time.monotonic() + OPEN_WITHIN_S
            while len(refusals) < 3 * PAYERS and time.monotonic() < until:
                time.sleep(0.1)
            stop.set()
            for payer in payers:
                payer.join()
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)
    report(alone, beside, refusals)


def start(home: Path, port: int, bank_port: int) -> subprocess.Popen[bytes]:
    """The service, with the sandbox's settings but a dead bank behind them."""
    from pydantic import SecretStr  # noqa: PLC0415

    from paydesk.payments.sandbox import sandbox_settings  # noqa: PLC0415

    bank = sandbox_settings(f"http://127.0.0.1:{bank_port}")
    settings = {
        f"PAYDESK_BANK_{name.upper()}": (
            value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        )
        for name, value in bank
        if name in bank.model_fields_set
    }
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "bentoml", "serve", "service:Paydesk"),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        cwd=ROOT,
        env={**os.environ, **settings, "PAYDESK_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def measure(url: str, path: str) -> list[float]:
    """Latencies in ms, sorted, of one client that asks again and again."""
    taken = []
    with httpx.Client(base_url=url, timeout=30) as client:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            began = time.perf_counter()
            answer = client.post(path, json=BODIES[path])
            taken.append((time.perf_counter() - began) * 1_000)
            answer.raise_for_status()
            time.sleep(0.005)
    return sorted(taken)


def pay(url: str, stop: threading.Event, refusals: list[float]) -> None:
    """Pays until told to stop; keeps the seconds that each 503 took."""
    with httpx.Client(base_url=url, timeout=60) as client:
        while not stop.is_set():
            body = {"accountA": "Northwind", "accountB": "Contoso", "amount": "1.00"}
            began = time.perf_counter()
            answer = client.post(
                "/payment", json=body, headers={"Idempotency-Key": str(uuid.uuid4())}
            )
            if answer.status_code == 503:
                refusals.append(time.perf_counter() - began)
                stop.wait(0.2)


def report(
    alone: dict[str, list[float]], beside: dict[str, list[float]], refusals: list[float]
) -> None:
    """A Markdown table, then one line of JSON."""
    print(
        "| route | figure | alone | beside a dead bank | ratio |\n| --- | --- | --- | --- | --- |"
    )
    figures: dict[str, object] = {"machine": platform.platform(), "cores": os.cpu_count()}
    for path in BODIES:
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            before, after = (
                taken[int(share * len(taken))] for taken in (alone[path], beside[path])
            )
            print(f"| {path} | {name} ms | {before:.2f} | {after:.2f} | {after / before:.2f} |")
            figures[f"{path} {name}"] = {"alone": before, "beside": after, "ratio": after / before}
    # Each payer's first call waits for the bank to its deadline; then the breaker is open.
    quick = refusals[PAYERS:]
    if quick:
        figures["refusal_s"] = {"median": statistics.median(quick), "max": max(quick)}
        print(
            f"\nWith the breaker open /payment said 503 {len(quick)} times: median "
            f"{statistics.median(quick):.3f} s; {sum(took > 1 for took in quick)} took more "
            "than 1 s (the trial calls that ask whether the bank is back)."
        )
    print(json.dumps(figures))


def wait_until_healthy(url: str) -> None:
    """Returns when /health says ok."""
    for _ in range(600):
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    sys.exit("The service did not start: train the models with `make serve` first.")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
