"""Transactions to the topic that is scored: from a file, or simulated, at a rate."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message

from paydesk.bulk.inputs import Opened, find_inputs
from paydesk.bulk.rows import FIELDS, Block, Refused, take
from paydesk.bulk.text import JsonLines, pieces
from paydesk.stream.kafka import Kafka, StreamError
from paydesk.stream.messages import VERSION

_PIECE = 64 * 1024
_SIMULATOR = "training.simulated"
_SENT_WITHIN_S = 120.0


@dataclass(slots=True)
class Sent:
    """How many transactions the brokers have; `refused` are those that /score would refuse."""

    sent: int = 0
    refused: int = 0
    first_refused: Refused | None = None


def produce(
    kafka: Kafka, topic: str, blocks: Iterator[Block], rate: float, totals: Sent, stop: Event
) -> None:
    """Sends transactions, `rate` a second (0: as fast as it goes), and returns when all are there.

    Setting `stop` ends it early. Raises StreamError where the brokers do not take them, and
    DataError for unreadable input.
    """
    kafka.make_topics([topic])
    producer = kafka.producer(linger_ms=20)
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            failed.append(error)

    began = time.monotonic()
    try:
        for key, value in _messages(blocks, totals):
            if stop.is_set():
                break
            if rate:
                producer.poll(max(began + totals.sent / rate - time.monotonic(), 0))
            while not failed:
                try:
                    producer.produce(topic, value, key, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            if failed:
                break
            totals.sent += 1
            if totals.sent % 1_000 == 0:
                producer.poll(0)
    finally:
        left = producer.flush(_SENT_WITHIN_S)
    if failed or left:
        why = failed[0] if failed else KafkaError(KafkaError._TIMED_OUT)
        kafka.explain(KafkaException(why))


def _messages(blocks: Iterator[Block], totals: Sent) -> Iterator[tuple[bytes, bytes]]:
    for block in blocks:
        rows = take(block)
        totals.refused += len(rows.refused)
        if rows.refused and totals.first_refused is None:
            totals.first_refused = rows.refused[0]
        good = set(rows.lines)
        for n, line in enumerate(block.lines):
            if line in good:
                yield message(block.record(n))


def message(record: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Key and value of a transaction. One without a customer is keyed by its own id."""
    key = record.get("customer_id") or record.get("tx_id") or "unknown"
    # orjson knows no whole number past 64 bits, which is an id that /score takes.
    value = json.dumps({"version": VERSION, **record}, ensure_ascii=False)
    return str(key).encode(), value.encode()


def from_file(name: str, columns: Mapping[str, str]) -> Iterator[Block]:
    """The rows of a file, or of standard input (`-`). Raises DataError."""
    for source in find_inputs([name], leave_out=Path(os.devnull)):
        opened = Opened(source, columns)
        try:
            for piece in opened.pieces:
                yield opened.layout.block(piece)
        finally:
            opened.close()


def simulated(rows: int, seed: int) -> Iterator[Block]:
    """So many simulated transactions, or without end (0), from a process of their own.

    Raises StreamError where the simulator is not to be had.
    """
    command = [sys.executable, "-m", _SIMULATOR, "--rows", str(rows), "--seed", str(seed)]
    layout = JsonLines({name: name for name in FIELDS})
    with subprocess.Popen(  # noqa: S603 (our own words)
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is the first process's to answer.
    ) as process:
        try:
            if process.stdout is not None:
                for piece in pieces(process.stdout, _PIECE, quoted=False):
                    yield layout.block(piece)
            if process.wait() != 0:
                raise StreamError(
                    "The simulator does not run here: it needs Paydesk's checkout and what trains "
                    "(`make serve` installs it). Give a file of transactions instead."
                )
        finally:
            process.kill()
