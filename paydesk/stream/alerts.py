"""Watches the alerts: decisions of HIGH and CRITICAL, as they come."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition
from pydantic import ValidationError

from paydesk.stream.kafka import ANSWERS_WITHIN_S, Kafka
from paydesk.stream.messages import DecisionMessage
from paydesk.stream.topics import Topics

_AT_ONCE = 500
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, as it came and as it is read, and the seconds since its transaction's message.

    `decision` is None for what is no message of Paydesk's.
    """

    value: bytes
    decision: DecisionMessage | None
    age_s: float


def watch(
    kafka: Kafka, topics: Topics, *, from_start: bool = False, follow: bool = True
) -> Iterator[Alert | None]:
    """The alerts from now on, or from the oldest; without `follow`, all that are there.

    None comes at least every second, so that who watches can stop. Raises StreamError.
    """
    kafka.make_topics([topics.alerts], like=topics.transactions)
    # Nobody shares these alerts with another watcher, and no position is kept.
    consumer = kafka.consumer(f"{topics.alerts}-{uuid.uuid4()}", enable_partition_eof=True)
    try:
        found = consumer.list_topics(topics.alerts, timeout=ANSWERS_WITHIN_S).topics[topics.alerts]
        start = OFFSET_BEGINNING if from_start or not follow else OFFSET_END
        consumer.assign([TopicPartition(topics.alerts, at, start) for at in found.partitions])
        unread = set(found.partitions)
        while follow or unread:
            for message in consumer.consume(_AT_ONCE, _LOOK_S):
                error = message.error()
                if error is None:
                    age_s = time.time() - message.timestamp()[1] / 1000
                    value = message.value() or b""
                    yield Alert(value, _decision(value), age_s)
                elif error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(message.partition())
                elif not error.retriable():
                    raise KafkaException(error)
            yield None
    except KafkaException as failed:
        kafka.explain(failed)
    finally:
        consumer.close()


def _decision(value: bytes) -> DecisionMessage | None:
    try:
        return DecisionMessage.model_validate_json(value)
    except ValidationError:
        return None
