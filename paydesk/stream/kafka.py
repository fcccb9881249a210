"""How Kafka is reached: clients with the settings that nothing lost and nothing twice needs."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

from paydesk.errors import PaydeskError
from paydesk.settings import Settings
from paydesk.stream.letter import LETTER_LIMIT, Position

try:
    from confluent_kafka import (
        Consumer,
        KafkaError,
        KafkaException,
        Message,
        Producer,
        TopicCollection,
        TopicPartition,
    )
    from confluent_kafka.admin import AdminClient
    from confluent_kafka.cimpl import NewTopic
except ImportError as error:
    raise PaydeskError(
        'Streams need the Kafka client, which is not installed: pip install "paydesk[stream]"'
    ) from error

ANSWERS_WITHIN_S = 10.0
_Client = TypeVar("_Client")
_TOPIC_LIMIT = 2 * LETTER_LIMIT

# What the promises rest on is not for a file to change.
_OURS = frozenset(
    {
        *("bootstrap.servers", "group.id", "group.instance.id", "transactional.id"),
        *("enable.auto.commit", "enable.auto.offset.store", "isolation.level"),
        *("enable.idempotence", "acks", "auto.offset.reset", "partition.assignment.strategy"),
        *("enable.partition.eof", "session.timeout.ms", "transaction.timeout.ms", "log_level"),
        *("message.max.bytes", "queue.buffering.max.messages", "queue.buffering.max.kbytes"),
    }
)
_FOREVER_WRONG = frozenset(
    {
        *(KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._AUTHENTICATION),
        *(KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED),
        *(KafkaError.CLUSTER_AUTHORIZATION_FAILED,),
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_VERSION,
    }
)


class StreamError(PaydeskError):
    """Kafka cannot be used as it is; the message has the next step."""


class Kafka:
    """Makes clients of one cluster."""

    def __init__(self, settings: Settings) -> None:
        """Raises StreamError where the file of further settings cannot be used."""
        self.brokers = settings.brokers
        self._base: dict[str, Any] = {
            "client.id": "paydesk",
            **_further(settings),
            "bootstrap.servers": settings.brokers,
            "log_level": 0,  # An error of a call is raised; the rest is the library talking.
            "error_cb": _unheard,
        }

    def producer(self, **settings: Any) -> Producer:
        """A producer whose every message is there once, in order, also after its own repeats."""
        return self._made(
            Producer,
            {
                "enable.idempotence": True,
                "queue.buffering.max.messages": 200_000,
                "message.max.bytes": 2 * _TOPIC_LIMIT,
                **_dotted(settings),
            },
            {"compression.type": "lz4", "linger.ms": 5},
        )

    def consumer(self, group: str, **settings: Any) -> Consumer:
        """A consumer that sees committed messages only, and commits nothing by itself."""
        return self._made(
            Consumer,
            {
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                # The cooperative way gives partitions over in two steps. A scorer with a name that
                # begins anew between them stops the second, and nobody has those partitions.
                "partition.assignment.strategy": "range",
                **_dotted(settings),
            },
            {"fetch.wait.max.ms": 50},
        )

    def topic_id(self, topic: str) -> str:
        """What tells this topic from every other, also from one of the same name made anew.

        Raises StreamError where there is none, or nothing answers.
        """
        admin = self._made(AdminClient, {})
        give_up = time.monotonic() + ANSWERS_WITHIN_S
        while True:
            try:
                asked = admin.describe_topics(
                    TopicCollection([topic]), request_timeout=ANSWERS_WITHIN_S
                )
                return str(asked[topic].result().topic_id)
            except KafkaException as failed:
                if failed.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    self.explain(failed)
                if time.monotonic() > give_up:
                    raise StreamError(f"There is no topic {topic!r}.") from failed
            time.sleep(0.1)  # One that was just made is not known everywhere at once.

    def make_topics(
        self, names: Collection[str], like: str | None = None, *, again: bool = True
    ) -> None:
        """Makes the topics that are missing, with as many partitions as `like` has.

        Raises StreamError.
        """
        admin = self._made(AdminClient, {})
        try:
            present = admin.list_topics(timeout=ANSWERS_WITHIN_S).topics
            partitions = len(present[like].partitions) if like in present else -1
            missing = [
                NewTopic(
                    name,
                    num_partitions=partitions,
                    replication_factor=-1,
                    config={"max.message.bytes": str(_TOPIC_LIMIT)},
                )
                for name in names
                if name not in present
            ]
            if missing:
                _made_all(admin.create_topics(missing, request_timeout=ANSWERS_WITHIN_S))
        except KafkaException as failed:
            if again and failed.args[0].code() == KafkaError._TIMED_OUT:
                # A cluster that has just begun may have no controller for a moment.
                return self.make_topics(names, like, again=False)
            self.explain(failed)

    def explain(self, failed: KafkaException) -> NoReturn:
        """Raises what Kafka failed with as a StreamError that has the next step."""
        found: KafkaError = failed.args[0]
        raise StreamError(
            f"Kafka at {self.brokers} cannot be used: {found.str()}. Check PAYDESK_BROKERS, and "
            "PAYDESK_KAFKA_FILE where it wants TLS or a password."
        ) from failed

    def _made(
        self,
        kind: Callable[[dict[str, Any]], _Client],
        ours: Mapping[str, Any],
        usual: Mapping[str, Any] = MappingProxyType({}),
    ) -> _Client:
        """A client with what the file says in place of what is `usual`, never of what is `ours`."""
        try:
            return kind({**usual, **self._base, **ours})
        except KafkaException as failed:  # A setting that the library does not take.
            found: KafkaError = failed.args[0]
            message = f"PAYDESK_KAFKA_FILE cannot be used: {found.str()}."
            raise StreamError(message) from failed


def ends(batch: Iterable[Message]) -> list[TopicPartition]:
    """Where each partition goes on after these messages, which are in order within each."""
    found: dict[tuple[str, int], int] = {}
    for message in batch:
        found[message.topic(), message.partition()] = message.offset()  # type: ignore[index,assignment]  # polled ones have all
    return [TopicPartition(topic, partition, end + 1) for (topic, partition), end in found.items()]


def position_of(message: Message) -> Position:
    """Where a polled message stands."""
    at_ms = max(message.timestamp()[1], 0)
    return Position(
        str(message.topic()), int(message.partition() or 0), int(message.offset() or 0), at_ms
    )


def never_mends(failed: KafkaException) -> bool:
    """Whether it would fail again, however often it is tried."""
    return failed.args[0].code() in _FOREVER_WRONG


def _made_all(asked: Mapping[str, Future[None]]) -> None:
    for made in asked.values():
        try:
            made.result()
        except KafkaException as failed:
            # Another scorer was faster.
            if failed.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise


def _further(settings: Settings) -> dict[str, str]:
    path = settings.kafka_file
    if path is None:
        return {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as failed:
        message = f"PAYDESK_KAFKA_FILE names {path}, which cannot be read: {failed}."
        raise StreamError(message) from failed
    found: dict[str, str] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not equals or not name:
            # Without the line itself: it may have a password.
            raise StreamError(f"{path}, line {number}: this is not NAME=VALUE.")
        if name in _OURS:
            raise StreamError(f"{path}, line {number}: {name} is Paydesk's own to set.")
        found[name] = value
    return found


def _dotted(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in settings.items()}


def _unheard(_error: KafkaError) -> None:
    """Errors of calls are raised; the library tells of each broken connection here besides."""
