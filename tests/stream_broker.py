"""`paydesk stream` as its users run it, on a real Kafka broker."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from conftest import ROOT

from deploy.broker import Broker, BrokerError, jars

_CACHE = ROOT / ".paydesk" / "cache"
_AT_ONCE = 10_000
_END_S = 120.0  # without one more message


def jars_of(name: str) -> Path:
    """The jars of `name`; without Java or Maven the test is skipped, and in CI it fails."""
    try:
        return jars(name, _CACHE)
    except BrokerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@dataclass
class Stream:
    """The topics, the group and the database of one test, and the commands that work on them."""

    broker: Broker
    home: Path
    environment: dict[str, str]
    prefix: str
    _running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def topic(self, name: str) -> str:
        """The whole name of a topic."""
        return f"{self.prefix}{name}"

    @property
    def database(self) -> str:
        """The log's address."""
        return self.environment.get("PAYDESK_DATABASE_URL", f"sqlite:///{self.home / 'paydesk.db'}")

    def run(self, *words: str, text: bytes = b"") -> subprocess.CompletedProcess[str]:
        """`paydesk stream WORDS`, to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "paydesk", "stream", *words],
            cwd=ROOT,
            env=self.environment,
            input=text,
            capture_output=True,
            check=False,
            timeout=120,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """`paydesk stream WORDS`, in the background."""
        log = (self.home / "scorer.log").open("ab")
        process = subprocess.Popen(
            [sys.executable, "-m", "paydesk", "stream", *words],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()
        self._running.append(process)
        return process

    def said(self) -> str:
        """What the processes in the background wrote."""
        log = self.home / "scorer.log"
        return log.read_text("utf-8") if log.exists() else ""

    def send(
        self,
        values: Sequence[Mapping[str, Any] | bytes | None],
        key: Callable[[int], bytes | None] = lambda n: b"C%d" % (n % 50),
        *,
        transactional: bool = False,
    ) -> None:
        """Messages to the topic of transactions, objects as JSON with the version."""
        producer = Producer(
            {
                "bootstrap.servers": self.broker.address,
                "message.max.bytes": 4_000_000,
                # Or a broker that has just begun may take messages in another order.
                "enable.idempotence": True,
                "log_level": 0,
                **({"transactional.id": str(uuid.uuid4())} if transactional else {}),
            }
        )
        if transactional:
            producer.init_transactions(30)
            producer.begin_transaction()
        for n, value in enumerate(values):
            sent = (
                json.dumps({"version": 1, **value}).encode()
                if isinstance(value, Mapping)
                else value
            )
            producer.produce(self.topic("transactions"), sent, key(n))
            producer.poll(0)
        assert producer.flush(60) == 0
        if transactional:
            producer.commit_transaction(30)

    def committed(
        self, name: str, stop: Callable[[list[Message]], bool] | None = None
    ) -> list[Message]:
        """The messages of a topic that a read_committed consumer sees.

        Those that are there now, or all until `stop` holds of them.
        """
        consumer = Consumer(
            {
                "bootstrap.servers": self.broker.address,
                "group.id": f"test-{uuid.uuid4()}",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "log_level": 0,
            }
        )
        consumer.subscribe([self.topic(name)])
        found: list[Message] = []
        ended: set[int | None] = set()
        whole = self.topic(name)
        give_up = time.monotonic() + _END_S
        try:
            partitions = consumer.list_topics(whole, timeout=10).topics[whole].partitions
            while not (stop(found) if stop else len(ended) == len(partitions)):
                for message in consumer.consume(_AT_ONCE, 0.2):
                    error = message.error()
                    if error is None:
                        found.append(message)
                        give_up = time.monotonic() + _END_S
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended.add(message.partition())
                if time.monotonic() > give_up:
                    pytest.fail(f"{len(found)} in {whole}, and no more: {self.said()[-2000:]}")
        finally:
            consumer.close()
        return found

    def decisions(self, number: int, name: str = "decisions") -> list[dict[str, Any]]:
        """The first so many decisions, once they are there."""
        found = self.committed(name, lambda messages: len(messages) >= number)
        return [json.loads(message.value() or b"") for message in found]

    def members(self) -> int:
        """How many scorers of this test the broker knows of."""
        admin = AdminClient({"bootstrap.servers": self.broker.address, "log_level": 0})
        group = self.topic("scorers")
        return len(admin.describe_consumer_groups([group])[group].result(10).members)

    def end(self, process: subprocess.Popen[bytes], how: int = signal.SIGTERM) -> int:
        """Ends a process in the background; its exit code."""
        process.send_signal(how)
        return process.wait(60)

    def close(self) -> None:
        """Leaves nothing running."""
        for process in self._running:
            if process.poll() is None:
                process.kill()
                process.wait()
