"""What a stream scorer counts, for Prometheus: lag, rate, time to an alert, dead letters."""

from collections.abc import Mapping
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    start_http_server,
    values,
)

from paydesk.risk.transaction import Level
from paydesk.stream.kafka import StreamError
from paydesk.stream.messages import Kind

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class StreamMetrics:
    """Counts of this process, all about what was committed."""

    def __init__(self) -> None:
        # A scorer is one process, also where the environment names a server's folder for metrics.
        values.ValueClass = values.MutexValue
        self._registry = CollectorRegistry()
        self._decisions = Counter(
            "paydesk_stream_decisions",
            "Decisions in the topic, by level.",
            ("level",),
            registry=self._registry,
        )
        self._replayed = Counter(
            "paydesk_stream_replayed",
            "Decisions in the topic that the log had before: a batch came again.",
            registry=self._registry,
        )
        self._dead = Counter(
            "paydesk_stream_dead_letters",
            "Messages that are no transactions, by kind.",
            ("kind",),
            registry=self._registry,
        )
        self._interrupted = Counter(
            "paydesk_stream_interruptions",
            "Batches given up and begun anew: broker, database or service were away.",
            registry=self._registry,
        )
        self._batch = Histogram(
            "paydesk_stream_batch_duration_seconds",
            "From a batch of messages to its commit.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._to_alert = Histogram(
            "paydesk_stream_event_to_alert_seconds",
            "From a transaction's message to its alert's commit.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._lag = Gauge(
            "paydesk_stream_lag_messages",
            "Messages that wait to be scored.",
            ("topic", "partition"),
            registry=self._registry,
        )
        for level in Level:
            self._decisions.labels(level.name)
        for kind in get_args(Kind):
            self._dead.labels(kind)

    def serve(self, host: str, port: int) -> None:
        """Answers Prometheus there, on a thread. Raises StreamError."""
        try:
            start_http_server(port, host, self._registry)
        except OSError as error:
            message = f"Metrics cannot be served at {host}:{port}: {error.strerror}."
            raise StreamError(f"{message} Choose another with --metrics HOST:PORT.") from error

    def committed(
        self,
        levels: Mapping[int, int],
        dead: Mapping[Kind, int],
        alert_ages_s: list[float],
        *,
        replayed: int,
        took_s: float,
    ) -> None:
        """One batch is committed: decisions by level, dead letters by kind, ages of its alerts."""
        for level, number in levels.items():
            self._decisions.labels(Level(level).name).inc(number)
        for kind, number in dead.items():
            self._dead.labels(kind).inc(number)
        for age_s in alert_ages_s:
            self._to_alert.observe(age_s)
        self._replayed.inc(replayed)
        self._batch.observe(took_s)

    def interrupted(self) -> None:
        """A batch was given up."""
        self._interrupted.inc()

    def lags(self, lags: Mapping[tuple[str, int], int]) -> None:
        """How many messages wait in each partition that this process has."""
        self._lag.clear()
        for (topic, partition), lag in lags.items():
            self._lag.labels(topic, str(partition)).set(lag)
