"""Messages in, decisions and alerts out: a batch is one transaction of Kafka, offsets included.

The order is what keeps a batch from being lost or doubled. First its decisions are put in the log,
each under its message's position. Then decisions, alerts, dead letters and the offsets go to Kafka
together. Whatever breaks before that commit, the batch comes again, to this scorer or another,
finds its decisions in the log, and sends the same ones.

While Kafka commits a batch, which is mostly waiting, the next one is decided.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event

from confluent_kafka import KafkaError, KafkaException

from paydesk.storage.database import DatabaseUnavailableError
from paydesk.stream import messages
from paydesk.stream.deciding import Decider, TryAgainError
from paydesk.stream.kafka import Kafka, StreamError, never_mends
from paydesk.stream.metrics import StreamMetrics
from paydesk.stream.progress import Progress
from paydesk.stream.session import Group, Sent, Session
from paydesk.stream.topics import Topics

_LONGEST_PAUSE_S = 10.0
# A broker that stood still may take a scorer for another of its own name: once in this time it is
# asked again. Of two that have one name, the first is asked again and ended then.
_MISTAKEN_FOR_S = 120.0


class StreamScorer:
    """One process of a group of scorers."""

    def __init__(
        self,
        kafka: Kafka,
        topics: Topics,
        group: Group,
        decider: Decider,
        metrics: StreamMetrics,
        *,
        most: int,
        tell: Callable[[str], None],
    ) -> None:
        self._kafka = kafka
        self._topics = topics
        self._group = group
        self._decider = decider
        self._metrics = metrics
        self._progress = Progress(group.group, group.name, topics.transactions)
        self._mistaken_until_s = 0.0
        self._most = most
        self._tell = tell

    def run(self, stop: Event) -> None:
        """Scores until `stop` is set. Raises StreamError for what no waiting mends."""
        topics = self._topics
        self._kafka.make_topics([topics.transactions])
        self._kafka.make_topics([topics.decisions, topics.alerts, topics.dead], topics.transactions)
        topic_id = self._kafka.topic_id(topics.transactions)
        name, group = self._group.name, self._group.group
        self._tell(f"Scoring {topics.transactions} as {name} of {group}. Ctrl-C stops it.")
        try:
            self._sessions(stop, topic_id)
        finally:
            self._decider.report(self._progress.report("stopped"))

    def _sessions(self, stop: Event, topic_id: str) -> None:
        pause_s = 0.0
        while not stop.is_set():
            session = Session(self._kafka, self._topics, self._group, topic_id, self._committed)
            try:
                session.begin(stop)
                while not stop.is_set():
                    self._batch(session)
                    pause_s = 0.0 if session.has_committed else pause_s
                session.settle()
                self._told(session.lags())
            except (KafkaException, DatabaseUnavailableError, TryAgainError) as failed:
                pause_s = min(pause_s * 2 or 0.2, _LONGEST_PAUSE_S)
                self._interrupted(failed)
                with suppress(KafkaException):  # Of one trouble one word is enough.
                    session.settle()
            finally:
                session.close()
            stop.wait(pause_s)

    def _interrupted(self, failed: Exception) -> None:
        if _is_fenced(failed) and time.monotonic() > self._mistaken_until_s:
            self._mistaken_until_s = time.monotonic() + _MISTAKEN_FOR_S
            reason = "Kafka took this scorer for another of its name."
        else:
            reason = _reason(self._kafka, self._group, failed)
        self._metrics.interrupted()
        self._tell(f"{reason} The batch is scored again; nothing is lost.")

    def _batch(self, session: Session) -> None:
        batch = session.poll(self._most)
        if batch:
            began = time.monotonic()
            taken = messages.read(
                [message.key() for message in batch], [message.value() for message in batch]
            )
            values = [message.value() or b"" for message in batch]
            decided = self._decider.decide(taken, values, session.sources(batch))
            session.settle()
            session.send(batch, decided, [*taken.refusals, *decided.refusals], began)
        elif session.is_over:
            session.settle()
        if session.lags_are_due:
            self._told(session.lags())
        if self._progress.is_due:
            self._decider.report(self._progress.report("scoring"))

    def _committed(self, sent: Sent) -> None:
        now_s = time.time()
        ages_s = [now_s - at_ms / 1000 for at_ms in sent.alerts_at_ms]
        self._metrics.committed(
            sent.levels,
            sent.refusals,
            ages_s,
            replayed=sent.replayed,
            took_s=time.monotonic() - sent.began,
        )
        self._progress.committed(sent.levels.total(), sent.refusals.total(), ages_s)

    def _told(self, lags: dict[tuple[str, int], int]) -> None:
        self._metrics.lags(lags)
        self._progress.waits(sum(lags.values()))


def _reason(kafka: Kafka, group: Group, failed: Exception) -> str:
    """What went wrong, in a sentence. Raises StreamError for what no waiting mends."""
    if not isinstance(failed, KafkaException):
        return str(failed)
    if _is_fenced(failed):
        raise StreamError(
            f"Another scorer of the group {group.group} has the name {group.name!r} and took over: "
            "give each its own with --name."
        ) from failed
    if never_mends(failed):
        kafka.explain(failed)
    return f"Kafka: {failed.args[0].str()}."


def _is_fenced(failed: Exception) -> bool:
    """Whether the broker knows another scorer by this one's name."""
    if not isinstance(failed, KafkaException):
        return False
    error: KafkaError = failed.args[0]
    # The library has a code of its own for what is fatal, and the broker's in its words.
    return error.code() == KafkaError.FENCED_INSTANCE_ID or "group.instance.id" in error.str()
