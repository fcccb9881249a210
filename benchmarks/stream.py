"""The stream beside a plain consumer that asks scikit-learn one by one, in the same run.

    python -m benchmarks.stream [--rows 300000]

A broker of its own is started. `paydesk stream score` runs on one core (with the durable log, and
with Kafka's transactions), the broker and the rest on the others. The peer consumes the same topic
on that core, parses, asks the native forest for one transaction after another, and produces the
answer; it judges no rules, checks nothing and keeps no log. Then the same stream via a service,
beside that service asked directly; and the time from a transaction to its alert at half the rate.
Needs the champion in the embedded store and in the Bento store, where `make serve` puts it.
"""

import asyncio
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import aiohttp
import mlflow
import orjson
import pandas as pd
import psutil
import typer
from confluent_kafka import Consumer, Producer

from benchmarks import report
from deploy.broker import Broker, jars
from paydesk.risk.forest import Forest
from paydesk.settings import Settings
from paydesk.stream.messages import VERSION
from paydesk.tracking_store import open_store, tracking_uri
from training.transactions import simulate

_COLUMNS = ["tx_id", "timestamp", "customer_id", "store", "category", "amount"]
_IN_FLIGHT = 64
_WARM_S = 10
_WAYS = {
    "paydesk": "paydesk stream score, on one core",
    "scikit-learn": "a consumer that asks scikit-learn one by one, on the same",
    "via api": "paydesk stream score --via api",
    "/score": "the same service, asked directly",
}


def main(
    rows: Annotated[int, typer.Option(help="Transactions of the fast ways.")] = 300_000,
    few: Annotated[int, typer.Option(help="Transactions of the slow ways.")] = 3_000,
    latency_s: Annotated[int, typer.Option(help="Seconds at half the rate.")] = 20,
    peer: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Prints the rates, their ratios, and the time to an alert."""
    if peer:
        _ask_scikit_learn(*peer.split(","))
        return
    cores = sorted(os.sched_getaffinity(0))
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        classpath = jars("kafka", Settings.read().home / "cache")
        broker = Broker(home / "broker", classpath, _free_port(), _free_port())
        broker.start()
        os.sched_setaffinity(broker.process.pid, set(cores[1:]) or set(cores))
        try:
            values = _values(rows)
            own = set(cores[:1])
            for way, number in (("all", rows), ("few", few), ("api", few * 3)):
                _send(broker.address, f"{way}.transactions", values[:number])
            with _scorer(broker, home, "all", own) as (process, url):
                found["paydesk"] = _rate(url, process, rows, found)
                found["half"] = found["paydesk"] / 2
                ages = _ages(broker.address, "all", values, found["half"], latency_s)
            found["p50_ms"], found["p99_ms"] = (
                statistics.quantiles(ages, n=100)[at] * 1_000 for at in (49, 98)
            )
            found["scikit-learn"] = _peer(broker.address, "few.transactions", few, own)
            with _service(home) as service:
                asyncio.run(_directly(service, values[:few]))  # warm
                found["/score"] = asyncio.run(_directly(service, values[: few * 3]))
                words = ("--via", "api", "--url", service)
                with _scorer(broker, home, "api", set(cores), *words) as (process, url):
                    found["via api"] = _rate(url, process, few * 3, {})
        finally:
            broker.stop()
    rates = {name: found[key] for key, name in _WAYS.items()}
    report.table(
        ("way", "transactions a second"), [[name, f"{rate:,.0f}"] for name, rate in rates.items()]
    )
    print(f"\nRatio to scikit-learn one by one: {found['paydesk'] / found['scikit-learn']:.0f}")
    print(f"Via API, of /score's own rate: {found['via api'] / found['/score']:.2f}")
    print(
        f"From transaction to alert at {found['half']:,.0f}/s: median {found['p50_ms']:.0f} ms, "
        f"99th percentile {found['p99_ms']:.0f} ms"
    )
    report.keep("stream", {**found, "cores": len(cores)})
    report.bars("stream", "From topic to topic", "transactions a second", rates, _WAYS["paydesk"])


def _values(rows: int) -> list[tuple[str, bytes]]:
    data = simulate(customers=4_000, stores=400, days=60, seed=99)[_COLUMNS].head(rows)
    data["timestamp"] = data["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    return [
        (str(record["customer_id"]), orjson.dumps({"version": VERSION, **record}))
        for record in data.to_dict("records")
    ]


def _send(address: str, topic: str, values: list[tuple[str, bytes]]) -> None:
    producer = Producer(
        {"bootstrap.servers": address, "linger.ms": 50, "queue.buffering.max.messages": 1_000_000}
    )
    for key, value in values:
        producer.produce(topic, value, key)
    producer.flush()


@contextmanager
def _scorer(
    broker: Broker, home: Path, way: str, cores: set[int], *words: str
) -> Iterator[tuple[psutil.Popen, str]]:
    port = _free_port()
    environment = {
        **os.environ,
        "PAYDESK_HOME": str(home / way),
        "PAYDESK_BROKERS": broker.address,
        "PAYDESK_STREAM_PREFIX": f"{way}.",
    }
    command = [sys.executable, "-m", "paydesk", "stream", "score", *words]
    process = psutil.Popen(
        [*command, "--metrics", f"127.0.0.1:{port}"],
        env=environment,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    try:
        yield process, f"http://127.0.0.1:{port}/metrics"
    finally:
        process.terminate()
        process.wait(60)


def _rate(url: str, process: psutil.Popen, rows: int, found: dict[str, float]) -> float:
    """Decisions a second, from a tenth of them to nine tenths."""
    first: tuple[float, int, float] | None = None
    while True:
        done, now = _decided(url), time.monotonic()
        used = process.cpu_times()
        cpu_s = used.user + used.system
        if first is None and done >= rows // 10:
            first = now, done, cpu_s
        if first is not None and done >= rows * 9 // 10:
            found["a second of processor"] = (done - first[1]) / (cpu_s - first[2])
            return (done - first[1]) / (now - first[0])
        time.sleep(0.05)


def _decided(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as page:  # noqa: S310 (to ourselves)
            text = page.read().decode()
    except OSError:
        return 0
    counts = re.findall(r"^paydesk_stream_decisions_total\{.*\} (\S+)$", text, re.MULTILINE)
    return int(sum(map(float, counts)))


def _ages(
    address: str, way: str, values: list[tuple[str, bytes]], rate: float, seconds: int
) -> list[float]:
    """Seconds from a transaction's message to its alert, as a consumer of alerts sees it."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": "ages",
            "isolation.level": "read_committed",
            "auto.offset.reset": "latest",
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.subscribe([f"{way}.alerts"])
    while not consumer.assignment():
        consumer.poll(0.1)
    ages: list[float] = []
    over = threading.Event()
    # Of the first seconds, which are a warm-up, and of what was there before, nothing is counted.
    since_ms = (time.time() + _WARM_S) * 1_000

    def send() -> None:
        # A wait of 1 ms would give the broker thousands of requests a second, and measure those.
        producer = Producer({"bootstrap.servers": address, "linger.ms": 10})
        began = time.monotonic()
        for n in range(int(rate * (seconds + _WARM_S))):
            if (wait_s := began + n / rate - time.monotonic()) > 0.001:
                producer.poll(0)
                time.sleep(wait_s)
            key, value = values[n % len(values)]
            producer.produce(f"{way}.transactions", value, key)
        producer.flush()
        over.set()

    sender = threading.Thread(target=send)
    sender.start()
    while not over.is_set():
        found = consumer.consume(1_000, 0.005)
        now_ms = time.time() * 1_000
        sent = [message.timestamp()[1] for message in found]
        ages += [(now_ms - at_ms) / 1_000 for at_ms in sent if at_ms >= since_ms]
    sender.join()
    consumer.close()
    return ages


def _peer(address: str, topic: str, rows: int, cores: set[int]) -> float:
    done = subprocess.run(
        [sys.executable, __file__, "--peer", f"{address},{topic},{rows}"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    return float(done.stdout.split()[-1])


def _ask_scikit_learn(address: str, topic: str, rows: str) -> None:
    open_store(tracking_uri(Settings()))
    forest = mlflow.sklearn.load_model("models:/risk@champion")
    forest.n_jobs = 1
    from bentoml.models import get  # noqa: PLC0415

    encoder = Forest.load(Path(get("risk:latest").path)).encoder
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": "peer", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    producer = Producer({"bootstrap.servers": address})
    began, done = 0.0, 0
    while done < int(rows):
        message = consumer.poll(1)
        if message is None or message.error():
            continue
        began = began or time.monotonic()
        tx = json.loads(message.value() or b"")
        hour = int(tx["timestamp"][11:13])
        features = encoder.row(tx["amount"], hour, tx["category"])
        probability = forest.predict_proba(pd.DataFrame(features, columns=encoder.names))[0, 1]
        answer = {"tx_id": tx["tx_id"], "fraud_probability": probability}
        producer.produce("peer.decisions", json.dumps(answer), message.key())
        done += 1
    producer.flush()
    took = time.monotonic() - began
    consumer.close()
    print(done / took)


@contextmanager
def _service(home: Path) -> Iterator[str]:
    port = _free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "service:Paydesk.to_asgi"),
        *("--port", str(port), "--no-access-log", "--no-server-header"),
        *("--http", "paydesk.web.protocol:GuardedProtocol"),
    ]
    environment = {
        **os.environ,
        "PAYDESK_HOME": str(home / "service"),
        "PAYDESK_ACCESS": "local",
    }
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
    try:
        while process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


async def _directly(url: str, values: list[tuple[str, bytes]]) -> float:
    """Answers a second of /score, with as many in flight as the stream has."""
    waiting = iter(values)

    async def ask(session: aiohttp.ClientSession) -> None:
        for _, value in waiting:
            async with session.post(f"{url}/score", data=value) as answer:
                await answer.read()

    async with aiohttp.ClientSession() as session:
        began = time.monotonic()
        await asyncio.gather(*(ask(session) for _ in range(_IN_FLIGHT)))
        return len(values) / (time.monotonic() - began)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    typer.run(main)
