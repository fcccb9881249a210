"""Messages in, decisions and alerts out: a batch is one transaction of Kafka, offsets included.

The order is what keeps a batch from being lost or doubled. First its decisions are put in the log,
each under its message's position. Then decisions, alerts, dead letters and the offsets go to Kafka
together. Whatever breaks before that commit, the batch comes again, to this scorer or another,
finds its decisions in the log, and sends the same ones. No transaction is open while messages are
asked for, which is when partitions are taken away: none is given up in the middle of a batch.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from threading import Event

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from paydesk.risk.transaction import Level
from paydesk.storage.database import DatabaseUnavailableError
from paydesk.stream import messages
from paydesk.stream.deciding import Decided, Decider, TryAgainError
from paydesk.stream.kafka import (
    ANSWERS_WITHIN_S,
    Kafka,
    StreamError,
    ends,
    never_mends,
    position_of,
)
from paydesk.stream.letter import Letter
from paydesk.stream.messages import Refusal
from paydesk.stream.metrics import StreamMetrics
from paydesk.stream.progress import Progress
from paydesk.stream.topics import Topics

_HIGH = int(Level.HIGH)
_AT_ONCE = 100  # messages: so many of the largest beyond the largest batch
_LARGEST_BATCH = 32 * 1024 * 1024  # bytes, of many large messages
_IDLE_S = 0.5
_GATHER_S = 0.001
_LAG_EVERY_S = 1.0
_LONGEST_PAUSE_S = 10.0
_ABORTED_WITHIN_S = 5.0
_KNOWN_WITHIN_S = 3.0
# A scorer that is gone for good holds up those who read its topics for so long.
_TRANSACTION_MS = 30_000
# Within this time a scorer that was killed and started again has its partitions at once.
_SESSION_MS = 10_000


@dataclass(frozen=True, slots=True)
class Group:
    """The scorers that share a topic, and the name of this one, which no other may have."""

    group: str
    name: str


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
            session = _Session(self._kafka, self._topics, self._group, topic_id)
            try:
                session.begin()
                while not stop.is_set():
                    self._batch(session)
                    pause_s = 0.0
                self._told(session.lags())
            except (KafkaException, DatabaseUnavailableError, TryAgainError) as failed:
                reason = _reason(self._kafka, self._group, failed)
                self._metrics.interrupted()
                pause_s = min(pause_s * 2 or 0.2, _LONGEST_PAUSE_S)
                self._tell(f"{reason} The batch is scored again; nothing is lost.")
            finally:
                session.close()
            stop.wait(pause_s)

    def _batch(self, session: "_Session") -> None:
        batch = session.poll(self._most)
        if batch:
            began = time.monotonic()
            taken = messages.read(
                [message.key() for message in batch], [message.value() for message in batch]
            )
            values = [message.value() or b"" for message in batch]
            decided = self._decider.decide(taken, values, session.sources(batch))
            refusals = [*taken.refusals, *decided.refusals]
            alerts = session.commit(batch, decided, refusals)
            now_ms = time.time() * 1000
            ages_s = [(now_ms - batch[place].timestamp()[1]) / 1000 for place in alerts]
            self._metrics.committed(
                Counter(row["level"] for row in decided.rows.values()),
                Counter(refusal.kind for refusal in refusals),
                ages_s,
                replayed=decided.replayed,
                took_s=time.monotonic() - began,
            )
            self._progress.committed(len(decided.rows), len(refusals), ages_s)
        if session.lags_are_due:
            self._told(session.lags())
        if self._progress.is_due:
            self._decider.report(self._progress.report("scoring"))

    def _told(self, lags: dict[tuple[str, int], int]) -> None:
        self._metrics.lags(lags)
        self._progress.waits(sum(lags.values()))


class _Session:
    """A consumer and a producer, from one trouble to the next. Its methods raise KafkaException."""

    def __init__(self, kafka: Kafka, topics: Topics, group: Group, topic_id: str) -> None:
        self._topics = topics
        self._prefix = topic_id
        self._assigned: set[int] = set()
        self._ends: dict[int, int] = {}
        self._lags_due = 0.0
        self._open = False
        # The name tells Kafka that this is the one that was killed, started again: it gets back the
        # partitions at once, and what that one had open is ended.
        self._consumer: Consumer = kafka.consumer(
            group.group,
            group_instance_id=group.name,
            session_timeout_ms=_SESSION_MS,
            enable_partition_eof=True,
        )
        self._producer: Producer = kafka.producer(
            transactional_id=f"{group.group}/{group.name}",
            transaction_timeout_ms=_TRANSACTION_MS,
        )

    def begin(self) -> None:
        """Ends what an earlier one of the same name left open, and asks for partitions."""
        self._producer.init_transactions(_TRANSACTION_MS / 1000)
        self._consumer.subscribe(
            [self._topics.transactions],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def poll(self, most: int) -> list[Message]:
        """The messages that are there, up to `most` or 32 MiB, after a short wait for the first."""
        found: list[Message] = []
        size = 0
        wanted, wait_s = 1, _IDLE_S
        while wanted:
            more = self._consumer.consume(wanted, wait_s)
            for message in filter(self._is_one, more):
                found.append(message)
                size += len(message.value() or b"")
            enough = len(more) < wanted or size >= _LARGEST_BATCH
            wanted, wait_s = 0 if enough else min(most - len(found), _AT_ONCE), _GATHER_S
        # A partition may have been taken away after its messages were fetched.
        return [message for message in found if message.partition() in self._assigned]

    def _is_one(self, polled: Message) -> bool:
        """Whether it is a message, and not the word that there is none until its offset."""
        error = polled.error()
        if error is None:
            return True
        if error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        # Past the last message there may be the mark of its producer's transaction.
        self._done_until(int(polled.partition() or 0), int(polled.offset() or 0))
        return False

    def sources(self, batch: Sequence[Message]) -> list[str]:
        """The positions of these messages, which no others have."""
        prefix = self._prefix
        return [f"{prefix}/{message.partition()}/{message.offset()}" for message in batch]

    def commit(
        self, batch: Sequence[Message], decided: Decided, refusals: Sequence[Refusal]
    ) -> list[int]:
        """Sends what was decided, with the offsets, or nothing; the places of the alerts."""
        producer, topics = self._producer, self._topics
        produce = producer.produce
        alerts: list[int] = []
        producer.begin_transaction()
        self._open = True
        for place, row in decided.rows.items():
            message = batch[place]
            key, at_ms = message.key(), max(message.timestamp()[1], 0)
            value = messages.decision(row, at_ms)
            produce(topics.decisions, value, key, timestamp=at_ms)
            if row["level"] >= _HIGH:
                produce(topics.alerts, value, key, timestamp=at_ms)
                alerts.append(place)
        for refusal in refusals:
            message = batch[refusal.place]
            position = position_of(message)
            letter = Letter.of(refusal, position, message.key(), message.value())
            produce(
                topics.dead,
                letter.value,
                letter.key,
                timestamp=position.at_ms,
                headers=[*letter.headers],
            )
        following = ends(batch)
        producer.send_offsets_to_transaction(
            following, self._consumer.consumer_group_metadata(), ANSWERS_WITHIN_S
        )
        _commit(producer)
        self._open = False
        for end in following:
            self._done_until(end.partition, end.offset)
        return alerts

    @property
    def lags_are_due(self) -> bool:
        """Whether a second is over since they were last asked for."""
        return time.monotonic() >= self._lags_due

    def lags(self) -> dict[tuple[str, int], int]:
        """How many messages wait in each partition."""
        self._lags_due = time.monotonic() + _LAG_EVERY_S
        found: dict[tuple[str, int], int] = {}
        for partition in self._assigned:
            place = TopicPartition(self._topics.transactions, partition)
            first, end = self._consumer.get_watermark_offsets(place, cached=True)
            if end >= 0:
                known = max(self._ends.get(partition, first), first)
                found[self._topics.transactions, partition] = max(end - known, 0)
        return found

    def _done_until(self, partition: int, offset: int) -> None:
        self._ends[partition] = max(self._ends.get(partition, 0), offset)

    def close(self) -> None:
        """Ends what is open without a trace."""
        with suppress(KafkaException):  # Where Kafka is away, the next session ends it, or time.
            if self._open:
                self._producer.abort_transaction(_ABORTED_WITHIN_S)
        self._consumer.close()

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned |= {place.partition for place in partitions}
        # Only what waits is told by it: without an answer, from the first commit on.
        with suppress(KafkaException):
            for place in consumer.committed(partitions, timeout=_KNOWN_WITHIN_S):
                if place.offset >= 0:
                    self._ends[place.partition] = place.offset

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned -= {place.partition for place in partitions}


def _commit(producer: Producer) -> None:
    while True:
        try:
            producer.commit_transaction()
        except KafkaException as failed:
            if not failed.args[0].retriable():
                raise
            # It may be committed or not: asked again, the broker answers for good.
        else:
            return


def _reason(kafka: Kafka, group: Group, failed: Exception) -> str:
    """What went wrong, in a sentence. Raises StreamError for what no waiting mends."""
    if not isinstance(failed, KafkaException):
        return str(failed)
    error: KafkaError = failed.args[0]
    # The library has a code of its own for what is fatal, and the broker's in its words.
    if error.code() == KafkaError.FENCED_INSTANCE_ID or "group.instance.id" in error.str():
        raise StreamError(
            f"Another scorer of the group {group.group} has the name {group.name!r} and took over: "
            "give each its own with --name."
        ) from failed
    if never_mends(failed):
        kafka.explain(failed)
    return f"Kafka: {error.str()}."
