"""The topic of dead letters: shown, and replayed once each."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from paydesk.json_text import JsonTextError, parse_object
from paydesk.stream.kafka import ANSWERS_WITHIN_S, Kafka, ends
from paydesk.stream.letter import Letter
from paydesk.stream.topics import Topics

_AT_ONCE = 500
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many letters were sent again, and those that could not be: they are not whole."""

    sent: int
    cut: list[Letter]


class DeadLetters:
    """The topic of dead letters. Its methods block, and raise StreamError."""

    def __init__(self, kafka: Kafka, topics: Topics) -> None:
        self._kafka = kafka
        self._topic = topics.dead
        self._group = f"{topics.dead}-replay"

    def letters(self, *, replayed_too: bool = False) -> Iterator[Letter]:
        """The letters that are there now, oldest first within a partition."""
        consumer = self._consumer()
        try:
            for batch in self._batches(consumer, from_start=replayed_too):
                yield from map(_letter, batch)
        except KafkaException as failed:
            self._kafka.explain(failed)
        finally:
            consumer.close()

    def replay(self) -> Replayed:
        """Sends the letters that are there now to their topics again, each once.

        What is sent and how far the letters are read is one transaction: a replay that is killed
        and started again repeats none. A message that had no key gets its customer's.
        """
        consumer = self._consumer()
        # The next replay's client takes over from one that was killed.
        producer = self._kafka.producer(transactional_id=self._group)
        sent, cut = 0, []
        try:
            producer.init_transactions(ANSWERS_WITHIN_S)
            for batch in self._batches(consumer, from_start=False):
                producer.begin_transaction()
                for letter in map(_letter, batch):
                    topic = letter.position.topic
                    if not letter.is_whole or not topic:
                        cut.append(letter)
                        continue
                    key = letter.key or key_of(letter.value)
                    producer.produce(topic, letter.value, key)
                    sent += 1
                producer.send_offsets_to_transaction(
                    ends(batch),
                    consumer.consumer_group_metadata(),
                    ANSWERS_WITHIN_S,
                )
                producer.commit_transaction()
        except KafkaException as failed:
            self._kafka.explain(failed)
        finally:
            consumer.close()
        return Replayed(sent, cut)

    def _consumer(self) -> Consumer:
        return self._kafka.consumer(self._group, enable_partition_eof=True)

    def _batches(self, consumer: Consumer, *, from_start: bool) -> Iterator[list[Message]]:
        """What is there now, in batches. Raises KafkaException."""
        found = consumer.list_topics(self._topic, timeout=ANSWERS_WITHIN_S).topics[self._topic]
        if found.error is not None:
            return  # There is no such topic, and so no letter.
        places = [TopicPartition(self._topic, partition) for partition in found.partitions]
        # What is replayed may come back as a letter: that one is for another time.
        now = {
            place.partition: consumer.get_watermark_offsets(place, timeout=ANSWERS_WITHIN_S)[1]
            for place in places
        }
        if not from_start:
            places = consumer.committed(places, timeout=ANSWERS_WITHIN_S)
        for place in places:
            if place.offset < 0:
                place.offset = OFFSET_BEGINNING
        consumer.assign(places)
        unread = {place.partition for place in places}
        while unread:
            batch = []
            for message in consumer.consume(_AT_ONCE, _LOOK_S):
                error = message.error()
                partition = message.partition()
                if error is None and (message.offset() or 0) < now.get(partition or 0, 0):
                    batch.append(message)
                elif error is None or error.code() == KafkaError._PARTITION_EOF:
                    unread.discard(partition)
                else:
                    raise KafkaException(error)
            if batch:
                yield batch


def _letter(message: Message) -> Letter:
    # The client's own types have headers as a dict as well, which it takes and never gives.
    headers = cast(list[tuple[str, bytes | None]], message.headers() or [])
    return Letter.read(headers, message.timestamp()[1], message.key(), message.value())


def key_of(value: bytes) -> bytes | None:
    """The key that a transaction without one should have had, where it can be read."""
    try:
        body = parse_object(value)
    except JsonTextError:
        return None
    key = body.get("customer_id") or body.get("tx_id")
    return key.encode() if isinstance(key, str) else None
