"""Jobs: submitted, looked at, fetched; exactly once, whatever ends the server meanwhile."""

import gzip
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from conftest import Running, Trained
from service_process import Service
from sqlalchemy import Engine, func, select, update
from test_bulk_http import ARROW, GOOD, as_csv, post, rows_of

from paydesk.storage.database import connect, now_us, open_database
from paydesk.storage.jobs import Job, JobMovedError, JobNotFoundError, JobsFullError, JobTable
from paydesk.storage.tables import decision_totals, decisions, jobs
from paydesk.web.job_files import JobFiles
from training.transactions import simulate

pytest_plugins = ["payments_fixtures"]

HOUR_US = 3_600_000_000
ROWS = 30_000


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Transactions that the forest never saw, with times as a JSON client writes them."""
    made = simulate(customers=200, stores=100, days=20, seed=99).head(3_000)
    times = made["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    return made.assign(timestamp=times).drop(columns=["label", "scenario"])


def lines(rows: int, name: str = "T") -> bytes:
    """So many good rows, gzipped."""
    made = (b'{"tx_id":"%s%d","amount":%d.5}\n' % (name.encode(), n, n % 997) for n in range(rows))
    return gzip.compress(b"".join(made), 1)


def ended(client: httpx.Client, where: str, within_s: float = 120) -> dict[str, Any]:
    """The job, when it is done or failed."""
    give_up = time.monotonic() + within_s
    while True:
        job = client.get(where).json()
        if job["ended_at"] is not None:
            return dict(job)
        assert time.monotonic() < give_up, job
        time.sleep(0.05)


def submitted(client: httpx.Client, body: bytes, path: str = "/score/jobs", **headers: str) -> str:
    """Where a new job is."""
    answer = post(client, body, path, **headers)
    assert answer.status_code == 202, answer.text
    return str(answer.headers["location"])


def until(true: Callable[[], bool], within_s: float = 120) -> None:
    """Waits for something to come true."""
    give_up = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/csv", ARROW])
def test_a_job_gives_what_the_bulk_route_gives(
    client: httpx.Client, data: pd.DataFrame, accept: str
) -> None:
    body = as_csv(data) + b"TXbad,,,,x\n"
    headers = {"content_type": "text/csv", "accept": accept}
    before = client.get("/stats").json()["total"]
    answer = post(client, body, "/score/jobs", **headers)
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/score/jobs/{job['job_id']}"
    assert (job["state"], job["rows"], job["bytes_total"]) == ("queued", 0, len(body))
    done = ended(client, answer.headers["location"])
    assert (done["state"], done["rows"], done["refused"]) == ("done", len(data) + 1, 1)
    assert done["bytes_read"] == done["bytes_total"]
    assert done["error"] is None
    result = client.get(f"{answer.headers['location']}/result")
    bulk = post(client, body, **headers)
    assert result.headers["content-type"] == bulk.headers["content-type"]
    assert int(result.headers["content-length"]) == len(result.content)
    found, expected = rows_of(result), rows_of(bulk)
    for row in (*found, *expected):
        row.pop("decision_id", None)
    assert found == expected
    assert client.get("/stats").json()["total"] == before + 2 * len(data)


def test_mails_are_read_and_their_text_is_kept_no_longer_than_the_job(
    running: Running, client: httpx.Client
) -> None:
    mail = "Please pay 1,250.00 EUR to Northwind Traders Ltd from Contoso GmbH."
    where = submitted(client, json.dumps({"email": mail}).encode(), "/predict/jobs")
    assert ended(client, where)["state"] == "done"
    assert rows_of(client.get(f"{where}/result")) == [
        client.post("/predict", json={"email": mail}).json()
    ]
    folder = running.home / "jobs" / where.rpartition("/")[2]
    assert [path.name for path in folder.iterdir()] == ["result"]
    assert client.get(where.replace("predict", "score")).status_code == 404
    head = client.head(f"{where}/result")
    assert int(head.headers["content-length"]) == (folder / "result").stat().st_size
    assert client.delete(where).status_code == 204
    assert not folder.exists()
    for path in (where, f"{where}/result"):
        assert client.get(path).status_code == 404
    assert client.delete(where).status_code == 404


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"a,b\n1,2\n", {"content_type": "text/csv"}, 400),
        (b"nothing like it", {"content_type": ARROW}, 400),
        (GOOD, {"content_type": "application/xml"}, 415),
        (GOOD, {"accept": "image/png"}, 406),
        (GOOD, {"Idempotency_Key": "x" * 256}, 400),
    ],
)
def test_what_can_be_no_job_is_said_at_once(
    running: Running, client: httpx.Client, body: bytes, headers: dict[str, str], status: int
) -> None:
    kept = set((running.home / "jobs").iterdir())
    answer = post(client, body, "/score/jobs", **headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert set((running.home / "jobs").iterdir()) == kept


def test_a_body_that_breaks_off_is_done_as_far_as_it_is_whole(client: httpx.Client) -> None:
    where = submitted(client, lines(5_000)[:-400], content_encoding="gzip")
    done = ended(client, where)
    assert (done["state"], done["refused"]) == ("done", 1)
    rows = rows_of(client.get(f"{where}/result"))
    assert len(rows) == done["rows"] > 1_000
    assert "breaks off here" in rows[-1]["error"]
    where = submitted(client, b"")
    assert ended(client, where)["rows"] == 0
    assert client.get(f"{where}/result").content == b""


def test_the_same_body_under_the_same_key_is_one_job(client: httpx.Client) -> None:
    before = client.get("/stats").json()["total"]
    answers = [post(client, GOOD, "/score/jobs", Idempotency_Key="one") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert [answer.headers.get("idempotency-replayed") for answer in answers] == [
        None,
        "true",
        "true",
    ]
    other = post(client, GOOD + b"\n" + GOOD, "/score/jobs", Idempotency_Key="one")
    assert other.status_code == 422
    assert answers[0].json()["job_id"] in other.json()["error"]
    ended(client, answers[0].headers["location"])
    assert client.get("/stats").json()["total"] == before + 1
    twice = client.post(
        "/score/jobs", content=GOOD, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    )
    assert twice.status_code == 400


@pytest.mark.timeout(600)
def test_a_killed_job_goes_on_and_every_decision_is_there_once(
    trained: Trained, tmp_path: Path, database_url: str
) -> None:
    settings = {"PAYDESK_DATABASE_URL": database_url}
    service = Service(trained, tmp_path, settings, workers=2)
    service.start()
    service.wait()
    with service.client() as client:
        where = submitted(client, lines(ROWS), content_encoding="gzip")
        behind = submitted(client, lines(3_000, "U"), content_encoding="gzip")
        for kill_at in (4_000, 12_000) if database_url.startswith("sqlite") else (8_000,):
            until(lambda rows=kill_at: client.get(where).json()["rows"] >= rows)  # type: ignore[misc]
            service.kill()
            service.start()
            service.wait()
        done = ended(client, where)
        assert (done["state"], done["rows"], done["refused"]) == ("done", ROWS, 0)
        assert ended(client, behind)["rows"] == 3_000
        found = rows_of(client.get(f"{where}/result"))
        total = client.get("/stats").json()["total"]
    service.stop()
    assert [row["tx_id"] for row in found] == [f"T{n}" for n in range(ROWS)]
    engine = connect(database_url)
    with engine.connect() as connection:
        logged = connection.execute(select(decisions.c.tx_id, decisions.c.decision_id)).all()
        counted = connection.execute(select(func.sum(decision_totals.c.decisions))).scalar()
    engine.dispose()
    by_tx = {row.tx_id: row.decision_id for row in logged}
    assert len(logged) == len(by_tx) == counted == total == ROWS + 3_000
    assert all(by_tx[row["tx_id"]] == row["decision_id"] for row in found)


@pytest.mark.timeout(600)
def test_a_job_is_stopped_gone_on_with_and_removed(trained: Trained, tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'paydesk.db'}")
    with Service(trained, tmp_path) as service, service.client() as client:
        where = submitted(client, lines(ROWS), content_encoding="gzip")
        until(lambda: client.get(where).json()["rows"] > 0)
        early = client.get(f"{where}/result")
        assert (early.status_code, early.headers["retry-after"]) == (409, "5")
        assert service.stop() == 0
        service.start()
        service.wait()
        done = ended(client, where)
        assert (done["state"], done["rows"]) == ("done", ROWS)
        assert client.get("/stats").json()["total"] == ROWS
        assert client.delete(where).status_code == 204

        where = submitted(client, lines(ROWS), content_encoding="gzip")
        bad = submitted(client, GOOD)
        with engine.begin() as connection:  # As if it had ended the server three times.
            connection.execute(update(jobs).where(jobs.c.rows == 0).values(takes=3))
        behind = submitted(client, lines(10), content_encoding="gzip")
        until(lambda: client.get(where).json()["rows"] > 0)
        assert client.delete(where).status_code == 204
        assert ended(client, behind)["state"] == "done"
        assert ROWS + 10 < client.get("/stats").json()["total"] < 2 * ROWS
        failed = ended(client, bad)
        assert "The server ended 3 times" in failed["error"]
        assert rows_of(client.get(f"{bad}/result"))[0]["error"] == failed["error"]
        there = {path.name for path in (tmp_path / "jobs").iterdir()}
        assert there == {bad.rpartition("/")[2], behind.rpartition("/")[2], "place"}
        assert 'paydesk_jobs{state="done"} 1.0' in client.get("/metrics").text
    engine.dispose()


def test_the_disk_that_jobs_take_is_bounded(trained: Trained, tmp_path: Path) -> None:
    settings = {"PAYDESK_JOBS_BYTES": "1000000"}
    with Service(trained, tmp_path, settings) as service, service.client() as client:
        where = submitted(client, lines(20_000), content_encoding="gzip")
        failed = ended(client, where)
        assert failed["state"] == "failed"
        assert "of the 1,000,000 bytes" in failed["error"]
        rows = rows_of(client.get(f"{where}/result"))
        assert len(rows) == failed["rows"] + 1 > 1_000
        assert rows[-1]["error"] == failed["error"]
        assert client.get("/stats").json()["total"] == failed["rows"]
        refused = post(client, os.urandom(600_000), "/score/jobs")
        assert refused.status_code == 507
        assert "DELETE" in refused.json()["error"]
        assert client.delete(where).status_code == 204
        assert ended(client, submitted(client, GOOD))["state"] == "done"


def test_of_a_result_only_what_was_said_to_be_there_is_given(
    trained: Trained, tmp_path: Path
) -> None:
    with Service(trained, tmp_path) as service, httpx.Client(base_url=service.url) as client:
        where = submitted(client, GOOD)
        ended(client, where)
        whole = client.get(f"{where}/result").content
        path = tmp_path / "jobs" / where.rpartition("/")[2] / "result"
        path.write_bytes(whole + b"what a killed server wrote and never said")
        assert client.get(f"{where}/result").content == whole


def test_a_job_of_another_disk_is_seen_and_not_worked_on(trained: Trained, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    settings = {"PAYDESK_DATABASE_URL": f"sqlite:///{tmp_path / 'one.db'}"}
    with (
        Service(trained, here, settings) as ours,
        Service(trained, there, settings) as theirs,
        ours.client() as client,
        theirs.client() as other,
    ):
        where = submitted(client, GOOD)
        assert ended(other, where)["state"] == "done"
        assert client.get(f"{where}/result").status_code == 200
        misdirected = other.get(f"{where}/result")
        assert misdirected.status_code == 421
        assert "on a new connection" in misdirected.json()["error"]
        assert other.delete(where).status_code == 204
        assert client.get(where).status_code == 404


@pytest.fixture
def empty(database_url: str) -> Iterator[Engine]:
    """A database with the newest tables and nothing in them, of either kind."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


def a_job(job_id: str, place: str = "here", **values: Any) -> Job:
    return Job(job_id, "score", place, "jsonl", "identity", "jsonl", "d", 100, now_us(), **values)


def test_twenty_submissions_under_one_key_are_one_job(empty: Engine) -> None:
    table = JobTable(empty)

    def submit(n: int) -> tuple[str, bool]:
        job, new = table.submit(a_job(f"job{n}", client_key="one"), 10_000)
        return job.job_id, new

    with ThreadPoolExecutor(20) as callers:
        found = list(callers.map(submit, range(20)))
    assert len({job_id for job_id, _ in found}) == 1
    assert [new for _, new in found].count(True) == 1
    with pytest.raises(JobsFullError, match="have 100 of the 150 bytes"):
        table.submit(a_job("another"), 150)


def test_servers_and_results_are_not_kept_for_ever(empty: Engine) -> None:
    table = JobTable(empty)
    for job_id, place in (("ours", "here"), ("theirs", "gone")):
        table.submit(a_job(job_id, place), 10_000)
    with empty.begin() as connection:
        connection.execute(update(jobs).values(seen_at_us=now_us() - 2 * HOUR_US))
    table.seen("here")
    table.abandon(now_us() - HOUR_US)
    assert table.find("score", "ours").state == "queued"
    lost = table.find("score", "theirs")
    assert lost.state == "failed"
    assert "has not been seen" in str(lost.error)
    assert table.take("theirs") is None
    table.expire(now_us() - HOUR_US)
    assert table.find("score", "theirs") == lost
    table.expire(now_us() + 1)
    with pytest.raises(JobNotFoundError):
        table.find("score", "theirs")
    assert table.by_state() == {"queued": 1, "running": 0, "done": 0, "failed": 0}


def test_a_job_moves_from_where_it_is_or_not_at_all(empty: Engine) -> None:
    table = JobTable(empty)
    table.submit(a_job("one"), 10_000)
    start = table.take("one")
    assert start is not None
    further = replace(start, line=10, rows=10, result_bytes=400)
    table.advance(start, further)
    with pytest.raises(JobMovedError):
        table.advance(start, replace(start, line=5, rows=5, result_bytes=200))
    assert table.find("score", "one") == replace(further, takes=0)
    table.remove("score", "one")
    with pytest.raises(JobMovedError):
        table.advance(further, replace(further, line=20))


def test_files_are_one_workers_and_go_with_their_job(tmp_path: Path) -> None:
    ours, theirs = JobFiles(tmp_path / "jobs"), JobFiles(tmp_path / "jobs")
    assert ours.place == theirs.place != JobFiles(tmp_path / "elsewhere").place
    for job_id in ("running", "done", "young", "orphan"):
        ours.new_body(job_id).close()
    os.utime(tmp_path / "jobs" / "orphan", (0, 0))
    claimed = ours.claim("running")
    assert claimed is not None
    assert theirs.claim("running") is None
    claimed.close()
    again = theirs.claim("running")
    assert again is not None
    again.close()
    ours.tidy({"running": "running", "done": "done"})
    left = {str(path.relative_to(tmp_path / "jobs")) for path in (tmp_path / "jobs").rglob("*")}
    assert left == {"place", "done", "running", "running/body", "young", "young/body"}
    assert (tmp_path / "jobs").stat().st_mode & 0o077 == 0
