"""The stream on Spark: the same decisions, also by a job that is killed and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message
from conftest import Trained
from stream_broker import Stream, jars_of
from test_stream import (
    assert_the_same,
    batch_scores,
    by_customer,
    headers_of,
    records_of,
    transactions,
)
from test_stream_messages import BAD

pytest_plugins = ["stream_fixtures"]

ROWS = 40_000
JOB = "from paydesk.stream.spark import main\nmain()\n"


class Job:
    """`spark-submit` of the job, on two threads."""

    def __init__(self, stream: Stream, trained: Trained, folder: Path) -> None:
        self._stream = stream
        jars = ",".join(map(str, jars_of("spark").glob("*.jar")))
        (folder / "job.py").write_text(JOB, "utf-8")
        self._log = folder / "spark.log"
        self._command = [
            *(str(Path(sys.executable).with_name("spark-submit")), "--master", "local[2]"),
            *("--jars", jars, "--conf", "spark.ui.enabled=false"),
            *("--conf", "spark.driver.host=127.0.0.1", "--conf", "spark.sql.shuffle.partitions=2"),
            *(str(folder / "job.py"), "--model", str(trained.model("risk")), "--name", "risk:1"),
            *("--checkpoint", str(folder / "checkpoint"), "--most", "5000"),
        ]

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Starts it, and does not wait."""
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*self._command, *words],
                env={**self._stream.environment, "PYSPARK_PYTHON": sys.executable},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def run_to_the_end(self) -> None:
        """Scores and counts what is there."""
        process = self.start("--until-now")
        assert process.wait(200) == 0, self._log.read_text("utf-8", "replace")[-4_000:]


def bodies(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """The values of messages."""
    return [json.loads(message.value() or b"") for message in messages]


@pytest.mark.timeout(600)
def test_killed_and_started_again_without_loss_or_repeat(
    stream: Stream, trained: Trained, tmp_path: Path
) -> None:
    data = transactions(ROWS)
    expected = batch_scores(trained, data)
    records = records_of(data)
    stream.send(records, by_customer(records))
    stream.send([value for _, value, *_ in BAD], lambda n: BAD[n][0])
    job = Job(stream, trained, tmp_path)
    first = job.start()
    try:
        stream.committed("decisions", lambda found: len(found) >= 5_000)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    time.sleep(1)
    job.run_to_the_end()

    decisions = bodies(stream.committed("decisions"))
    by_id = {one["decision_id"]: one for one in decisions}
    # What stands there twice is the same, under one decision_id.
    assert all(by_id[one["decision_id"]] == one for one in decisions)
    assert sorted(one["tx_id"] for one in by_id.values()) == sorted(expected)
    for one in by_id.values():
        assert_the_same(one, expected[one["tx_id"]])
    urgent = {key for key, one in by_id.items() if one["risk_level"] in {"HIGH", "CRITICAL"}}
    assert {one["decision_id"] for one in bodies(stream.committed("alerts"))} == urgent
    letters = [headers_of(letter) for letter in stream.committed("dead")]
    places = {(said["paydesk-partition"], said["paydesk-offset"]) for said in letters}
    assert len(places) == len(BAD)

    counts: dict[bytes | None, dict[str, Any]] = {}
    for message in stream.committed("counts"):
        counts[message.key()] = json.loads(message.value() or b"")
    told: Counter[tuple[str, str | None]] = Counter()
    for one in counts.values():
        told[one["risk_level"], one["store"]] += one["decisions"]
        assert one["until_ms"] - one["from_ms"] == 300_000
    meant = Counter((one["risk_level"], one["store"]) for one in by_id.values())
    assert told == meant
