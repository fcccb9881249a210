"""Prometheus metrics in base units, right over all workers of a server.

prometheus_client keeps each process's values in files of a folder and adds them up when asked.
BentoML makes such a folder too, but under its own home, where the start of a second server empties
it. So every server has one of its own, named after the process that all its workers descend from.
"""

import os
import shutil
from asyncio import get_running_loop
from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from paydesk.risk.transaction import Level

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_LATENCY_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_COMMIT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PROBABILITY = tuple(n / 20 for n in range(1, 21))
_FLUSH_S = 0.25


class Metrics:
    """All that is counted; it watches the log of decisions too.

    What comes with every request is gathered and written four times a second: prometheus_client
    takes a lock, asks for its process and writes to a file for each number.
    """

    def __init__(self, folder: Path, models: Mapping[str, str]) -> None:
        """`folder` is the server's own, see `server_folder`; `models`: version by name."""
        # The variable has to be there when prometheus_client is imported, or else its choice of
        # where values live has to be made again.
        os.environ[_FOLDER] = str(folder)
        values.ValueClass = values.MultiProcessValue()
        for process in _dead(folder):
            mark_process_dead(process, str(folder))
        none = CollectorRegistry()  # The values are read from the folder, by `page`.
        self._requests = Counter(
            "paydesk_http_requests",
            "Requests answered, by method, template of the path, and status.",
            ("method", "route", "status"),
            registry=none,
        )
        self._durations = Histogram(
            "paydesk_http_request_duration_seconds",
            "From the request's headers to the end of its answer.",
            ("route",),
            buckets=_LATENCY_S,
            registry=none,
        )
        self._decisions = Counter(
            "paydesk_decisions", "Decisions on disk, by level.", ("level",), registry=none
        )
        self._probability = Histogram(
            "paydesk_fraud_probability_ratio",
            "The forest's probability of fraud, of decisions on disk.",
            buckets=_PROBABILITY,
            registry=none,
        )
        self._commits = Histogram(
            "paydesk_decision_log_commit_duration_seconds",
            "One commit of the decision log, with all that waited for it.",
            buckets=_COMMIT_S,
            registry=none,
        )
        self._waiting = Gauge(
            "paydesk_decision_log_queue_depth",
            "Decisions that wait for a commit.",
            multiprocess_mode="livesum",
            registry=none,
        )
        model = Gauge(
            "paydesk_model_info",
            "The models served; always 1.",
            ("model", "version"),
            multiprocess_mode="livemax",
            registry=none,
        )
        for name, version in models.items():
            model.labels(name, version).set(1)
        self._by_request: Tally[tuple[str, str, int]] = Tally()
        self._by_route: dict[str, _Observations] = {}
        self._by_level: Tally[str] = Tally()
        self._probabilities = _Observations(self._probability)
        self._to_be_flushed = False
        for level in Level:  # From the first scrape on; and every file is there to be filled.
            self._decisions.labels(level.name)
        self._folder = folder
        _fill(folder)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered. `method` and `route` come from the contract, not the caller.

        Like `scored`, called on the event loop only.
        """
        self._by_request[method, route, status] += 1
        durations = self._by_route.get(route)
        if durations is None:
            durations = self._by_route[route] = _Observations(self._durations.labels(route))
        durations.add(seconds)
        if not self._to_be_flushed:
            self._to_be_flushed = True
            get_running_loop().call_later(_FLUSH_S, self.flush)

    def scored(self, level: str, probability: float) -> None:
        """One decision is on disk."""
        self._by_level[level] += 1
        self._probabilities.add(probability)

    def scored_all(self, verdicts: Sequence[tuple[str, float]]) -> None:
        """Decisions that are on disk, by level and probability; from any thread."""
        for level, count in Tally(level for level, _ in verdicts).items():
            self._decisions.labels(level).inc(count)
        probabilities = _Observations(self._probability)
        for _, probability in verdicts:
            probabilities.add(probability)
        probabilities.flush()

    def flush(self) -> None:
        """Writes what was gathered, for all workers to read."""
        self._to_be_flushed = False
        for kind, count in self._by_request.items():
            self._requests.labels(*map(str, kind)).inc(count)
        for level, count in self._by_level.items():
            self._decisions.labels(level).inc(count)
        self._by_request.clear()
        self._by_level.clear()
        for gathered in (*self._by_route.values(), self._probabilities):
            gathered.flush()

    def waiting(self, decisions: int) -> None:
        """So many decisions wait for a commit."""
        self._waiting.set(decisions)

    def committed(self, decisions: int, seconds: float) -> None:
        """A commit took so long."""
        del decisions  # Those on disk are counted one by one, with their level.
        self._commits.observe(seconds)

    def page(
        self, payments: Callable[[], Mapping[str, int]], jobs: Callable[[], Mapping[str, int]]
    ) -> bytes:
        """Everything, over all workers, in Prometheus' text format. Blocks on files and database.

        `payments` and `jobs` give the number of them by state.
        """
        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._folder))
        registry.register(
            _ByState("paydesk_payments", "Payments in the ledger, by state.", payments)
        )
        registry.register(_ByState("paydesk_jobs", "Jobs on all servers, by state.", jobs))
        return generate_latest(registry)

    def close(self) -> None:
        """Writes what was gathered; this process's gauges no longer count."""
        self.flush()
        mark_process_dead(os.getpid(), str(self._folder))


class _Observations:
    """What a histogram is to be told. Its own way takes one at a time."""

    def __init__(self, histogram: Histogram) -> None:
        self._histogram = histogram
        self._counts = [0] * len(histogram._upper_bounds)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Gathers a value."""
        self._counts[bisect_left(self._histogram._upper_bounds, value)] += 1
        self._sum += value

    def flush(self) -> None:
        """Tells the histogram."""
        if not any(self._counts):
            return
        for bucket, count in zip(self._histogram._buckets, self._counts, strict=True):
            if count:
                bucket.inc(count)
        self._histogram._sum.inc(self._sum)
        self._counts = [0] * len(self._counts)
        self._sum = 0.0


class _ByState(Collector):
    def __init__(self, name: str, says: str, count: Callable[[], Mapping[str, int]]) -> None:
        self._name = name
        self._says = says
        self._count = count

    def collect(self) -> list[Metric]:
        family = GaugeMetricFamily(self._name, self._says, labels=["state"])
        for state, number in self._count().items():
            family.add_metric([state], number)
        return [family]

    def describe(self) -> list[Metric]:
        return []  # Registering must not ask the database.


def server_folder(home: Path) -> Path:
    """The folder that the workers of this server share; those of servers that ended are removed."""
    metrics = home / "metrics"
    # In a container the server is the first process and has no parent to see.
    parent = psutil.Process(os.getppid() or os.getpid())
    mine = metrics / f"{parent.pid}-{int(parent.create_time())}"
    mine.mkdir(parents=True, exist_ok=True)
    for other in metrics.iterdir():
        process, _, began = other.name.partition("-")
        if not _runs(int(process), int(began)):
            shutil.rmtree(other, ignore_errors=True)
    return mine


def _runs(process: int, began_s: int) -> bool:
    try:
        return int(psutil.Process(process).create_time()) == began_s
    except psutil.NoSuchProcess:
        return False


def _dead(folder: Path) -> list[int]:
    """The workers that left gauges behind and run no more: killed ones."""
    processes = {int(path.stem.rpartition("_")[2]) for path in folder.glob("gauge_live*.db")}
    return [process for process in processes if not psutil.pid_exists(process)]


def _fill(folder: Path) -> None:
    """Gives this process's files their whole length on disk.

    They are mapped into memory: on a full disk, a write into a hole would end the process.
    """
    for path in folder.glob(f"*_{os.getpid()}.db"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
