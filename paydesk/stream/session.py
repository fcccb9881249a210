"""A scorer's part in its group: what it consumes, and what it commits, a batch at a time.

Partitions are taken away when messages are asked for, and not before the commit that is under way
is over or given up: none goes elsewhere in the middle of a batch. Where Kafka has taken them
already, the session being over, it refuses the commit.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from paydesk.risk.transaction import Level
from paydesk.stream import messages
from paydesk.stream.deciding import Decided
from paydesk.stream.kafka import ANSWERS_WITHIN_S, Kafka, ends, position_of
from paydesk.stream.letter import Letter
from paydesk.stream.messages import Kind, Refusal
from paydesk.stream.topics import Topics

_HIGH = int(Level.HIGH)
_AT_ONCE = 100  # messages: so many of the largest beyond the largest batch
_LARGEST_BATCH = 32 * 1024 * 1024  # bytes, of many large messages
_IDLE_S = 0.5
_GATHER_S = 0.001
_LAG_EVERY_S = 1.0
_ABORTED_WITHIN_S = 5.0
_KNOWN_WITHIN_S = 3.0
# A scorer that is gone for good holds up those who read its topics for so long.
_TRANSACTION_MS = 30_000
# Kafka has ended the transaction by then. The library may hold a call for ever, whatever time it is
# given, where a broker went away in the middle of it (librdkafka's issue 5456).
_COMMITTED_WITHIN_S = _TRANSACTION_MS / 1000
_ASKED_ANEW_S = 1.0
_BETWEEN_S = 0.1
# Within this time a scorer that was killed and started again has its partitions at once.
_SESSION_MS = 10_000


@dataclass(frozen=True, slots=True)
class Group:
    """The scorers that share a topic, and the name of this one, which no other may have."""

    group: str
    name: str


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch that was handed to Kafka: what is told of it once it is committed.

    `alerts_at_ms` has the time of each alert's message, `ends_seen` where a partition had no more
    before this batch, or within it.
    """

    began: float
    levels: Counter[int]
    refusals: Counter[Kind]
    alerts_at_ms: list[int]
    replayed: int
    ends: list[TopicPartition]
    ends_seen: dict[int, int]


class Session:
    """A consumer and a producer, from one trouble to the next. Its methods raise KafkaException."""

    def __init__(
        self,
        kafka: Kafka,
        topics: Topics,
        group: Group,
        topic_id: str,
        committed: Callable[[Sent], None],
    ) -> None:
        """`committed` is told of each batch, on the thread that commits."""
        self._committed = committed
        self._topics = topics
        self._prefix = topic_id
        self._assigned: set[int] = set()
        self._ends: dict[int, int] = {}  # of what is committed, by partition
        self._ends_seen: dict[int, int] = {}  # where there was no more; perhaps not committed yet
        self._ends_lock = Lock()
        self._lags_due = 0.0
        self._open = False
        self._committing: Future[None] | None = None
        self._give_up_s = 0.0
        self._has_committed = False
        self._metadata: Any = None
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

    def begin(self, stop: Event) -> None:
        """Ends what an earlier one of the same name left open, and asks for partitions, unless
        `stop` is set before Kafka answers.
        """
        give_up_s = time.monotonic() + _TRANSACTION_MS / 1000
        while not self._is_known(is_last=time.monotonic() >= give_up_s):
            if stop.wait(_BETWEEN_S):
                return
        self._consumer.subscribe(
            [self._topics.transactions],
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_revoke,
        )

    def _is_known(self, *, is_last: bool) -> bool:
        try:
            self._producer.init_transactions(_ASKED_ANEW_S)  # Asked again, it goes on.
        except KafkaException as failed:
            if is_last or not failed.args[0].retriable():
                raise
            return False
        return True

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
        # As of now: should Kafka give the partitions to another while this batch is decided, the
        # commit names who took them, and is refused.
        self._metadata = self._consumer.consumer_group_metadata()
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
        self._ends_seen[int(polled.partition() or 0)] = int(polled.offset() or 0)
        return False

    def sources(self, batch: Sequence[Message]) -> list[str]:
        """The positions of these messages, which no others have."""
        prefix = self._prefix
        return [f"{prefix}/{message.partition()}/{message.offset()}" for message in batch]

    def send(
        self,
        batch: Sequence[Message],
        decided: Decided,
        refusals: Sequence[Refusal],
        began: float,
    ) -> None:
        """Hands to Kafka what was decided, with the offsets; all of it is committed, or nothing.

        What was sent before is settled.
        """
        producer, topics = self._producer, self._topics
        produce = producer.produce
        alerts_at_ms: list[int] = []
        producer.begin_transaction()
        self._open = True
        for place, row in decided.rows.items():
            message = batch[place]
            key, at_ms = message.key(), max(message.timestamp()[1], 0)
            value = messages.decision(row, at_ms)
            produce(topics.decisions, value, key, timestamp=at_ms)
            if row["level"] >= _HIGH:
                produce(topics.alerts, value, key, timestamp=at_ms)
                alerts_at_ms.append(at_ms)
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
        sent = Sent(
            began,
            Counter(row["level"] for row in decided.rows.values()),
            Counter(refusal.kind for refusal in refusals),
            alerts_at_ms,
            decided.replayed,
            ends(batch),
            self._ends_seen,
        )
        self._ends_seen = {}
        committing: Future[None] = Future()
        self._committing = committing
        self._give_up_s = time.monotonic() + _COMMITTED_WITHIN_S
        # Python waits for no such thread at its end: a second Ctrl-C need not wait for Kafka.
        arguments = (committing, sent, self._metadata)
        Thread(target=self._commit_batch, args=arguments, name="kafka-commit", daemon=True).start()

    def _commit_batch(self, committing: Future[None], sent: Sent, metadata: Any) -> None:
        try:
            # Neither is called again after an error: it may be committed or not, and the next
            # session's producer, when it begins, ends it for good.
            self._producer.send_offsets_to_transaction(sent.ends, metadata, ANSWERS_WITHIN_S)
            self._producer.commit_transaction()
            for end in sent.ends:
                self._done_until(end.partition, end.offset)
            for partition, offset in sent.ends_seen.items():
                self._done_until(partition, offset)
            self._committed(sent)
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            committing.set_exception(error)
        else:
            committing.set_result(None)

    @property
    def is_over(self) -> bool:
        """Whether what was sent is committed, or failed, or given up, and not settled yet."""
        return self._committing is not None and (
            self._committing.done() or time.monotonic() >= self._give_up_s
        )

    @property
    def has_committed(self) -> bool:
        """Whether it has committed something."""
        return self._has_committed

    def settle(self) -> None:
        """Waits for the commit of what was sent, if it is under way."""
        if self._committing is None:
            return
        committing, self._committing = self._committing, None
        try:
            committing.result(self._patience_s())
        except TimeoutError as late:
            self._open = False  # Its producer answers nothing: the next one ends it, or time.
            raise KafkaException(
                KafkaError(KafkaError._TIMED_OUT, "The commit has no answer")
            ) from late
        self._open = False
        self._has_committed = True

    def _patience_s(self) -> float:
        return max(self._give_up_s - time.monotonic(), 0.0)

    @property
    def lags_are_due(self) -> bool:
        """Whether a second is over since they were last asked for."""
        return time.monotonic() >= self._lags_due

    def lags(self) -> dict[tuple[str, int], int]:
        """How many messages wait in each partition."""
        self._lags_due = time.monotonic() + _LAG_EVERY_S
        if self._committing is None:
            for partition, offset in self._ends_seen.items():
                self._done_until(partition, offset)
            self._ends_seen.clear()
        found: dict[tuple[str, int], int] = {}
        for partition in self._assigned:
            place = TopicPartition(self._topics.transactions, partition)
            first, end = self._consumer.get_watermark_offsets(place, cached=True)
            if end >= 0:
                known = max(self._ends.get(partition, first), first)
                found[self._topics.transactions, partition] = max(end - known, 0)
        return found

    def _done_until(self, partition: int, offset: int) -> None:
        with self._ends_lock:
            self._ends[partition] = max(self._ends.get(partition, 0), offset)

    def close(self) -> None:
        """Ends what is open without a trace. What is under way is not waited for."""
        self._committing = None
        try:
            with suppress(KafkaException):  # Where Kafka is away, the next one ends it, or time.
                if self._open:
                    self._producer.abort_transaction(_ABORTED_WITHIN_S)
            self._consumer.close()
        finally:
            # The consumer's callbacks and this object hold each other, and both of them threads
            # and sockets.
            del self._consumer, self._producer

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._assigned |= {place.partition for place in partitions}
        # Only what waits is told by it: without an answer, from the first commit on.
        with suppress(KafkaException):
            known = consumer.committed(partitions, timeout=_KNOWN_WITHIN_S)
            with self._ends_lock:
                self._ends |= {at.partition: at.offset for at in known if at.offset >= 0}

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._committing is not None:
            wait([self._committing], self._patience_s())  # Who settles it hears how it went.
        self._assigned -= {place.partition for place in partitions}
