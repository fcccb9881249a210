"""From topic to topic: every transaction one decision, whatever is killed on the way."""

import json
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import psutil
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from conftest import Running, Trained, free_port
from service_process import Service, new_key
from sqlalchemy import text
from stream_broker import Stream
from test_stream_messages import BAD

from paydesk.bulk.rows import Block
from paydesk.bulk.scoring import score
from paydesk.risk.forest import Forest
from paydesk.risk.rules import RuleBook
from paydesk.risk.scorer import Scorer
from paydesk.storage.database import connect
from paydesk.storage.stream_scorers import heard_scorers
from training.transactions import simulate

pytest_plugins = ["stream_fixtures", "payments_fixtures"]

COLUMNS = ["tx_id", "timestamp", "customer_id", "store", "category", "amount"]
SAME = ("score", "risk_level", "triggered_rules", "fraud", "fraud_probability", "reasons")


def transactions(rows: int) -> pd.DataFrame:
    """Transactions that the forest never saw, with times as a JSON client writes them."""
    made = simulate(customers=2_000, stores=300, days=80, seed=99)[COLUMNS].head(rows)
    assert len(made) == rows
    return made.assign(timestamp=made["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S"))


def records_of(data: pd.DataFrame) -> list[dict[str, Any]]:
    """Each as an object."""
    return [{str(name): value for name, value in row.items()} for row in data.to_dict("records")]


def by_customer(records: list[dict[str, Any]]) -> Callable[[int], bytes]:
    """The keys of these messages."""
    return lambda n: str(records[n]["customer_id"]).encode()


def headers_of(message: Message) -> dict[str, str]:
    """What is said of a letter."""
    return {str(name): bytes(value).decode() for name, value in message.headers() or ()}  # type: ignore[str-unpack, arg-type]


def batch_scores(trained: Trained, data: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """What `paydesk score` says of them, by tx_id."""
    scorer = Scorer(Forest.load(trained.model("risk")), RuleBook.read(), "risk:1")
    columns = {name: data[name].tolist() for name in COLUMNS}
    scored = score(scorer, Block(range(1, len(data) + 1), columns))
    assert not scored.rows.refused
    rows = zip(*(scored.columns[name] for name in SAME), strict=True)
    return dict(
        zip(
            scored.columns["tx_id"],
            (dict(zip(SAME, row, strict=True)) for row in rows),
            strict=True,
        )
    )


def assert_the_same(decision: dict[str, Any], expected: dict[str, Any]) -> None:
    """All but the probability is equal; that is within what a float of 32 bits has."""
    assert {name: decision[name] for name in SAME if name != "fraud_probability"} == {
        name: expected[name] for name in SAME if name != "fraud_probability"
    }
    assert abs(decision["fraud_probability"] - expected["fraud_probability"]) <= 1e-6


def logged(stream: Stream) -> list[tuple[str, str]]:
    """The log's (tx_id, decision_id), of decisions with a source."""
    engine = connect(stream.database)
    with engine.connect() as log:
        found = log.execute(
            text("SELECT tx_id, decision_id FROM decisions WHERE source IS NOT NULL")
        )
        rows = [(str(tx_id), str(decision_id)) for tx_id, decision_id in found]
        total = log.scalar(text("SELECT sum(decisions) FROM decision_totals"))
        counted = log.scalar(text("SELECT sum(decisions) FROM decision_counts WHERE span_s = 300"))
    engine.dispose()
    assert total == counted == len(rows)
    return rows


@pytest.mark.timeout(900)
def test_200_000_with_10_kills_and_2_restarts_of_the_broker(
    stream: Stream, trained: Trained
) -> None:
    data = transactions(200_000)
    expected = batch_scores(trained, data)
    records = records_of(data)
    chance = np.random.default_rng(5)
    sent = 0
    # A part is sent, and the scorer killed while it works on it.
    for kill in range(11):
        part = records[sent : len(records) * (kill + 1) // 11]
        stream.send(part, by_customer(part))
        sent += len(part)
        if kill == 10:
            break
        scorer = stream.start("score", "--name", "one", "--most", "1000")
        working = len(stream.said())
        while len(stream.said()) == working:  # It says that it begins.
            time.sleep(0.02)
        time.sleep(float(chance.uniform(0.3, 2.0)))
        if kill in {3, 7}:
            stream.broker.kill() if kill == 3 else stream.broker.stop()
            stream.broker.start()
            time.sleep(float(chance.uniform(0.0, 1.0)))
        stream.end(scorer, signal.SIGKILL)
    assert sent == len(records)
    last = stream.start("score", "--name", "one")
    decisions = stream.decisions(len(records))
    assert stream.end(last) == 0, stream.said()
    decisions = [json.loads(one.value() or b"") for one in stream.committed("decisions")]
    assert sorted(one["tx_id"] for one in decisions) == sorted(expected)
    for decision in decisions:
        assert_the_same(decision, expected[decision["tx_id"]])
    assert sorted(logged(stream)) == sorted((one["tx_id"], one["decision_id"]) for one in decisions)
    urgent = {one["decision_id"] for one in decisions if one["risk_level"] in {"HIGH", "CRITICAL"}}
    alerts = [json.loads(one.value() or b"") for one in stream.committed("alerts")]
    assert sorted(one["decision_id"] for one in alerts) == sorted(urgent)
    assert 0 < len(urgent) < len(decisions) / 10
    # In order within a customer, as they were sent.
    assert in_order(decisions) == in_order(records)


def in_order(of: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Each customer's transactions, in the order in which they are here."""
    found: dict[str, list[str]] = {}
    for one in of:
        found.setdefault(one["customer_id"], []).append(one["tx_id"])
    return found


def test_bad_messages_of_every_kind_are_dead_letters_and_can_be_replayed(stream: Stream) -> None:
    scorer = stream.start("score", "--metrics", f"127.0.0.1:{(port := free_port())}")
    keys = [key for key, *_ in BAD]
    values = [value for _, value, *_ in BAD]
    stream.send([{"tx_id": "before", "amount": 1}], key=lambda _: b"C")
    stream.send(values, key=lambda n: keys[n])
    stream.send([{"tx_id": "after", "amount": 1}], key=lambda _: b"C")
    assert {one["tx_id"] for one in stream.decisions(2)} == {"before", "after"}
    letters = stream.committed("dead", lambda found: len(found) >= len(BAD))
    by_place = {
        (found["paydesk-partition"], found["paydesk-offset"]): (found, letter)
        for letter in letters
        for found in [headers_of(letter)]
    }
    assert len(by_place) == len(letters) == len(BAD)
    sent = stream.committed("transactions")
    at = {(str(one.partition()), str(one.offset())): one for one in sent}
    for place, (found, letter) in by_place.items():
        assert found["paydesk-topic"] == stream.topic("transactions")
        assert letter.value() == at[place].value() or (not letter.value() and not at[place].value())
        assert letter.key() == at[place].key()
        assert letter.timestamp() == at[place].timestamp()
    told = [(kind, key, value or b"") for key, value, kind, _ in BAD]
    assert Counter(
        (found["paydesk-kind"], letter.key(), letter.value() or b"")
        for found, letter in by_place.values()
    ) == Counter(told)
    assert all(
        any(
            says in found["paydesk-reason"]
            for key, value, kind, says in BAD
            if (kind, key) == (found["paydesk-kind"], letter.key())
        )
        for found, letter in by_place.values()
    )
    page = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    kinds = Counter(kind for *_, kind, _ in BAD)
    for kind, number in kinds.items():
        assert f'paydesk_stream_dead_letters_total{{kind="{kind}"}} {number}.0' in page
    assert 'paydesk_stream_decisions_total{level="LOW"} 2.0' in page

    shown = stream.run("dead", "show", "--json")
    assert shown.returncode == 0, shown.stderr
    assert Counter(json.loads(line)["kind"] for line in shown.stdout.splitlines()) == kinds
    assert "wrong_version" in stream.run("dead", "show").stdout
    replayed = stream.run("dead", "replay")
    assert replayed.returncode == 0, replayed.stderr
    assert f"{len(BAD)} messages were sent again." in replayed.stderr
    # Those without a key have their customer's now, or else their own; the others are bad still.
    again = stream.decisions(4)
    assert [one["tx_id"] for one in again].count("A") == 2
    stream.committed("dead", lambda found: len(found) >= 2 * len(BAD) - 2)
    assert stream.end(scorer) == 0
    assert len(stream.committed("dead")) == 2 * len(BAD) - 2
    new = stream.run("dead", "show", "--json").stdout.splitlines()
    assert len(new) == len(BAD) - 2
    everything = stream.run("dead", "show", "--all", "--json").stdout.splitlines()
    assert len(everything) == 2 * len(BAD) - 2


def test_scorers_share_the_work_and_give_it_up(stream: Stream, trained: Trained) -> None:
    data = transactions(30_000)
    records = records_of(data)
    first = stream.start("score", "--name", "one", "--most", "500")
    stream.send(records[:10_000], by_customer(records))
    stream.decisions(1_000)
    stream.start("score", "--name", "two", "--most", "500")
    stream.send(records[10_000:20_000], by_customer(records[10_000:]))
    stream.decisions(15_000)
    # One is stopped for longer than its session lasts: the other takes over, and what the first
    # was at when it goes on is refused.
    stop_between_commits(first, stream)
    stream.send(records[20_000:], by_customer(records[20_000:]))
    stream.decisions(30_000)
    first.send_signal(signal.SIGCONT)
    more = [{**record, "tx_id": f"more-{n}"} for n, record in enumerate(records[:2_000])]
    stream.send(more, by_customer(more))
    decisions = stream.decisions(32_000)
    expected = [record["tx_id"] for record in [*records, *more]]
    assert sorted(one["tx_id"] for one in decisions) == sorted(expected)
    assert sorted(logged(stream)) == sorted((one["tx_id"], one["decision_id"]) for one in decisions)


def stop_between_commits(scorer: subprocess.Popen[bytes], stream: Stream) -> None:
    """Stops it where it has no lock on SQLite's file, which would stop all others with it."""
    while True:
        scorer.send_signal(signal.SIGSTOP)
        with (
            suppress(sqlite3.OperationalError),
            sqlite3.connect(stream.home / "paydesk.db", timeout=1, isolation_level=None) as log,
        ):
            log.execute("BEGIN IMMEDIATE")
            log.execute("ROLLBACK")
            return
        scorer.send_signal(signal.SIGCONT)
        time.sleep(0.05)


def test_two_of_one_name_are_one_too_many(stream: Stream) -> None:
    first = stream.start("score", "--name", "one")
    stream.send([{"tx_id": "A", "amount": 1}])
    stream.decisions(1)
    stream.start("score", "--name", "one")
    assert first.wait(30) == 2
    assert "Another scorer" in stream.said()
    assert "--name" in stream.said()
    stream.send([{"tx_id": "B", "amount": 1}])
    assert {one["tx_id"] for one in stream.decisions(2)} == {"A", "B"}


def test_a_position_that_the_log_has_is_not_decided_again(stream: Stream) -> None:
    """The group's offsets are set back, as an operator might: the same decisions come again."""
    scorer = stream.start("score")
    stream.send(records_of(transactions(500)))
    before = {one["tx_id"]: one for one in stream.decisions(500)}
    stream.end(scorer)
    group = stream.topic("scorers")
    consumer = Consumer({"bootstrap.servers": stream.broker.address, "group.id": group})
    places = [TopicPartition(stream.topic("transactions"), n, 0) for n in range(4)]
    time.sleep(11)  # The scorer's session has to be over.
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()
    scorer = stream.start("score")
    again = stream.decisions(1_000)
    stream.end(scorer)
    assert len(again) == 1_000
    assert all(one == before[one["tx_id"]] for one in again)
    assert len(logged(stream)) == 500


def test_two_scorers_and_a_kill_on_postgresql(
    stream: Stream, trained: Trained, postgres_url: str
) -> None:
    stream.environment["PAYDESK_DATABASE_URL"] = postgres_url
    data = transactions(20_000)
    expected = batch_scores(trained, data)
    records = records_of(data)
    killed = stream.start("score", "--name", "one", "--most", "500")
    stream.send(records, by_customer(records))
    stream.decisions(2_000)
    stream.end(killed, signal.SIGKILL)
    scorers = [stream.start("score", "--name", name, "--most", "500") for name in ("one", "two")]
    decisions = stream.decisions(len(records))
    assert [stream.end(scorer) for scorer in scorers] == [0, 0], stream.said()
    told = {one.name: one for one in heard_scorers(connect(postgres_url))}
    assert {one.state for one in told.values()} == {"stopped"}
    assert sum(one.decisions for one in told.values()) <= len(records)
    assert sum(one.waiting for one in told.values()) == 0
    assert sorted(one["tx_id"] for one in decisions) == sorted(expected)
    for decision in decisions:
        assert_the_same(decision, expected[decision["tx_id"]])
    assert sorted(logged(stream)) == sorted((one["tx_id"], one["decision_id"]) for one in decisions)


def test_a_log_that_is_away_holds_the_stream_up_and_loses_nothing(stream: Stream) -> None:
    scorer = stream.start("score")
    stream.send([{"tx_id": "A", "amount": 1}])
    stream.decisions(1)
    with sqlite3.connect(stream.home / "paydesk.db") as database:
        database.execute("ALTER TABLE decisions RENAME TO away")
    stream.send([{"tx_id": "B", "amount": 1}])
    said = stream.said()
    threads = []
    for sessions in (1, 5):
        while stream.said().count("cannot be written") < sessions:
            time.sleep(0.1)
        threads.append(psutil.Process(scorer.pid).num_threads())
    assert scorer.poll() is None, said
    # An ended session leaves nothing behind: each has some ten threads.
    assert threads[1] < threads[0] + 10
    with sqlite3.connect(stream.home / "paydesk.db") as database:
        database.execute("ALTER TABLE away RENAME TO decisions")
    assert {one["tx_id"] for one in stream.decisions(2)} == {"A", "B"}
    assert stream.end(scorer) == 0
    assert "Traceback" not in stream.said()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_a_broker_away_for_longer_than_a_session_ends_no_scorer(stream: Stream, how: str) -> None:
    records = records_of(transactions(20_000))
    stream.send(records, by_customer(records))
    scorer = stream.start("score", "--name", "one", "--most", "500")
    stream.decisions(2_000)  # It is in the middle of the work, with a commit under way mostly.
    assert stream.broker.process is not None
    if how == "frozen":
        stream.broker.process.send_signal(signal.SIGSTOP)
        time.sleep(14)  # A session lasts 10 s.
        stream.broker.process.send_signal(signal.SIGCONT)
    else:
        stream.broker.kill()
        give_up = time.monotonic() + 90
        while "is scored again" not in stream.said():  # The commit is given up after 30 s.
            assert time.monotonic() < give_up, stream.said()
            time.sleep(0.2)
        stream.broker.start()
    decisions = stream.decisions(len(records))
    assert scorer.poll() is None, stream.said()
    assert stream.end(scorer) == 0
    decisions = [json.loads(one.value() or b"") for one in stream.committed("decisions")]
    assert sorted(one["tx_id"] for one in decisions) == sorted(one["tx_id"] for one in records)
    assert in_order(decisions) == in_order(records)
    assert sorted(logged(stream)) == sorted((one["tx_id"], one["decision_id"]) for one in decisions)


def test_one_that_joins_while_another_is_in_a_batch_leaves_no_partition_alone(
    stream: Stream,
) -> None:
    first = stream.start("score", "--name", "one")
    stream.send([{"tx_id": f"A{n}", "amount": 1} for n in range(40)])
    stream.decisions(40)
    with closing(sqlite3.connect(stream.home / "paydesk.db")) as database:
        database.execute("BEGIN IMMEDIATE")  # The batch that comes now waits in the log's door.
        stream.send([{"tx_id": f"B{n}", "amount": 1} for n in range(40)])
        second = stream.start("score", "--name", "two")
        while stream.members() < 2:
            time.sleep(0.1)
        failed = stream.said().count("cannot be written")
        while stream.said().count("cannot be written") < failed + 2:
            time.sleep(0.1)
        database.rollback()
    assert len({one["tx_id"] for one in stream.decisions(80)}) == 80
    stream.send([{"tx_id": f"C{n}", "amount": 1} for n in range(40)])
    assert len({one["tx_id"] for one in stream.decisions(120)}) == 120
    assert [stream.end(scorer) for scorer in (first, second)] == [0, 0], stream.said()


def test_the_same_decisions_via_api(stream: Stream, running: Running, trained: Trained) -> None:
    data = transactions(3_000)
    expected = batch_scores(trained, data)
    with httpx.Client(base_url=running.url) as client:
        before = client.get("/stats").json()["total"]
        words = ("score", "--via", "api", "--url", running.url, "--most", "200")
        scorer = stream.start(*words)
        records = records_of(data)
        stream.send(records)
        stream.decisions(500)
        stream.end(scorer, signal.SIGKILL)
        scorer = stream.start(*words)
        decisions = stream.decisions(3_000)
        stream.end(scorer)
        assert sorted(one["tx_id"] for one in decisions) == sorted(expected)
        for decision in decisions:
            assert_the_same(decision, expected[decision["tx_id"]])
        assert client.get("/stats").json()["total"] == before + 3_000
        (told,) = client.get("/stream/scorers").json()["scorers"]
        assert told["topic"] == stream.topic("transactions")
        assert told["state"] == "stopped"
        assert 0 < told["decisions"] <= 3_000
        assert told["waiting"] == 0
        some = decisions[17]
        found = client.get(f"/transaction/{some['tx_id']}").json()
        assert found["decision_id"] == some["decision_id"]
        assert found["amount"] == some["amount"]


def test_a_service_that_limits_and_stops_is_waited_for(
    stream: Stream, trained: Trained, tmp_path: Path
) -> None:
    home = tmp_path / "service"
    home.mkdir()
    settings = {"PAYDESK_ACCESS": "keys", "PAYDESK_RATE_LIMIT_PER_S": "100"}
    service = Service(trained, home, settings)
    key = new_key(service, "score")
    stream.environment["PAYDESK_KEY"] = key
    with service:
        refused = stream.start("score", "--via", "api", "--url", service.url, "--key", "pd_no_key")
        stream.send([{"tx_id": f"A{n}", "amount": 1} for n in range(250)])
        assert refused.wait(60) == 2
        assert "--key" in stream.said()
        scorer = stream.start("score", "--via", "api", "--url", service.url)
        stream.decisions(250)
        service.stop()
        stream.send([{"tx_id": "late", "amount": 1}])
        time.sleep(1)
        service.start()
        service.wait()
        assert len({one["tx_id"] for one in stream.decisions(251)}) == 251
        assert stream.end(scorer) == 0
    assert "Traceback" not in stream.said()


def test_produce_a_file_watch_the_alerts(stream: Stream, tmp_path: Path) -> None:
    rows = "tx_id,amount,hour,who\nA,4500,3,C1\nB,1,12,C2\nC,-1,1,C3\nD,3200,11,\n"
    path = tmp_path / "tx.csv"
    path.write_text(rows, "utf-8")
    sent = stream.run("produce", str(path), "--columns", "customer_id=who", "--rate", "50")
    assert sent.returncode == 3
    assert "3 transactions are in" in sent.stderr
    assert "line 4: " in sent.stderr
    messages = stream.committed("transactions")
    assert {one.key() for one in messages} == {b"C1", b"C2", b"D"}
    scorer = stream.start("score")
    stream.decisions(2, "alerts")
    told = stream.run("alerts", "--from-start", "--no-follow", "--json")
    assert told.returncode == 0, told.stderr
    alerts = [json.loads(line) for line in told.stdout.splitlines()]
    assert {(one["tx_id"], one["risk_level"]) for one in alerts} == {
        ("A", "CRITICAL"),
        ("D", "HIGH"),
    }
    table = stream.run("alerts", "--from-start", "--no-follow").stdout
    assert "CRITICAL" in table
    assert "The amount 4500.00 is above 3000." in table
    assert stream.end(scorer) == 0


def test_simulated_transactions_are_the_same_for_the_same_seed(stream: Stream) -> None:
    for _ in range(2):
        assert stream.run("produce", "--rows", "50", "--seed", "3").returncode == 0
    values = Counter(one.value() for one in stream.committed("transactions"))
    assert len(values) == 50
    assert set(values.values()) == {2}


@pytest.mark.parametrize(
    ("words", "settings", "says"),
    [
        (["score"], {"PAYDESK_BROKERS": "127.0.0.1:1"}, "PAYDESK_BROKERS"),
        (["alerts"], {"PAYDESK_BROKERS": "127.0.0.1:1"}, "PAYDESK_BROKERS"),
        (["produce", "nope.csv"], {}, "nope.csv"),
        (["score", "--metrics", "9464"], {}, "HOST:PORT"),
        (["score", "--name", "a" * 256], {}, "The name of a scorer"),
        (["dead", "show"], {"PAYDESK_KAFKA_FILE": "nope"}, "PAYDESK_KAFKA_FILE"),
        (["score"], {"PAYDESK_RULES_FILE": "nope.toml"}, "nope.toml"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    stream: Stream, words: list[str], settings: dict[str, str], says: str
) -> None:
    stream.environment.update(settings)
    done = stream.run(*words)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_of_settings_is_read_and_its_secrets_are_not_told(
    stream: Stream, tmp_path: Path
) -> None:
    path = tmp_path / "kafka"
    stream.environment["PAYDESK_KAFKA_FILE"] = str(path)
    for lines, says in [
        ("client.rack=here\n# a remark\n\nsocket.keepalive.enable=true", ""),
        ("sasl.password s3cret", "line 1: this is not NAME=VALUE"),
        ("client.rack=here\ntransactional.id=mine", "line 2: transactional.id is Paydesk's own"),
        ("message.max.bytes=9", "line 1: message.max.bytes is Paydesk's own"),
        ("no.such.setting=s3cret", "no.such.setting"),
    ]:
        path.write_text(lines, "utf-8")
        done = stream.run("dead", "show")
        assert done.returncode == (2 if says else 0), done.stderr
        assert says in done.stderr
        assert "s3cret" not in done.stderr


def test_a_letter_too_long_for_its_topic_is_cut_and_says_so(stream: Stream) -> None:
    assert stream.run("produce", "--rows", "1").returncode == 0
    huge = b"x" * 3_000_000  # Packed, the topic takes it.
    producer = Producer(
        {
            "bootstrap.servers": stream.broker.address,
            "message.max.bytes": 4_000_000,
            "compression.type": "gzip",
        }
    )
    producer.produce(stream.topic("transactions"), huge, b"C")
    assert producer.flush(30) == 0
    scorer = stream.start("score")
    (letter,) = stream.committed("dead", lambda found: len(found) >= 1)
    assert letter.value() == huge[: 1024 * 1024]
    assert ("paydesk-size", b"3000000") in (letter.headers() or [])
    assert stream.end(scorer) == 0
    replayed = stream.run("dead", "replay")
    assert replayed.returncode == 3
    assert "1,048,576 of 3,000,000 bytes" in replayed.stderr
