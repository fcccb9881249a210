"""What a body of rows may take: time on the way in and out, rows, work; and a log that fails."""

import io
import json
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pyarrow as pa
from conftest import Trained
from service_process import Service
from sqlalchemy import text
from test_bulk_http import GOOD, post, rows_of

from paydesk.entities.reader import Reader
from paydesk.storage.database import connect
from paydesk.web.row_forms import Wanted
from paydesk.web.row_work import MailReading, opened

HEAD = "POST /score/bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n"


def connected(service: Service, buffer: int = 1_000_000) -> socket.socket:
    """A connection to the service, whose system gathers about so much for us."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    made.settimeout(120)
    made.connect(("127.0.0.1", service.port))
    return made


def send_slowly(service: Service) -> bytes:
    """The answer to a body that comes a kilobyte a second."""
    with connected(service) as ours:
        ours.sendall(HEAD.format(10_000_000).encode())
        for _ in range(60):
            ours.sendall(b" " * 1_000)
            if select.select([ours], [], [], 1)[0]:
                return b"".join(iter(lambda: ours.recv(65_536), b""))
    return b""


def read_nothing(service: Service) -> int:
    """The bytes of an answer that there are for a client which does not read until it is left."""
    body = b'{"amount": "not a number"}\n' * 60_000
    with connected(service, 4_096) as ours:
        ours.sendall(HEAD.format(len(body)).encode() + body)
        until(lambda: bodies_on_disk(service) == 1)
        until(lambda: bodies_on_disk(service) == 0)
        found = 0
        with suppress(ConnectionResetError):
            while part := ours.recv(1_000_000):
                found += len(part)
        return found


def until(true: Callable[[], bool]) -> None:
    """Waits for something to come true."""
    give_up = time.monotonic() + 100
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.1)


def bodies_on_disk(service: Service) -> int:
    """The files without a name that the service holds in its home."""
    found = 0
    for process in service.processes():
        for link in Path(f"/proc/{process.pid}/fd").iterdir():
            with suppress(OSError):
                where = str(link.readlink())
                found += where.startswith(str(service.home)) and where.endswith("(deleted)")
    return found


def test_who_sends_or_reads_slowly_holds_no_place(trained: Trained, tmp_path: Path) -> None:
    with Service(trained, tmp_path) as service, ThreadPoolExecutor(2) as clients:
        sending, reading = (
            clients.submit(send_slowly, service),
            clients.submit(read_nothing, service),
        )
        answer = sending.result()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"or less than 65,536 bytes a second" in answer
        whole = len(post(service.client(), b'{"amount": "not a number"}\n' * 60_000).content)
        assert reading.result() < whole
        assert "Traceback" not in service.log.read_text("utf-8")


def test_a_log_that_fails_on_the_way_is_told_in_the_last_row(
    trained: Trained, tmp_path: Path
) -> None:
    with (
        Service(trained, tmp_path) as service,
        service.client(timeout=120) as client,
        client.stream("POST", "/score/bulk", content=(GOOD + b"\n") * 60_000) as answer,
    ):
        parts = answer.iter_lines()
        rows = [next(parts)]
        engine = connect(f"sqlite:///{tmp_path / 'paydesk.db'}")
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE decisions RENAME TO away"))
        rows += parts
        with engine.connect() as connection:
            logged = connection.execute(text("SELECT count(*) FROM away")).scalar_one()
        engine.dispose()
    last = json.loads(rows[-1])
    assert last["line"] == len(rows) < 60_000
    assert last["error"].startswith("The decision log cannot be written.")
    assert "No row from this one on is answered." in last["error"]
    assert len(rows) - 1 <= logged <= len(rows) - 1 + 1_000


def test_a_body_has_up_to_a_million_rows(client: httpx.Client) -> None:
    rows = rows_of(post(client, GOOD + b"\n" * 1_100_000 + GOOD))
    assert [row.get("line", 0) for row in rows] == [0, 2]
    assert "up to 1,000,000 rows" in rows[1]["error"]


def test_a_block_of_mails_has_no_more_text_than_one_mail_may_have(trained: Trained) -> None:
    reader = Reader.load(trained.model("entities"))
    mails = ["x" * 30_000] * 10 + ["y" * 150_000] * 2 + ["z"] * 120
    table = pa.table({"email": mails})
    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    stream.seek(0)
    asked = Wanted("arrow", "identity", "jsonl")
    blocks = list(opened(stream, asked, MailReading(reader, "jsonl"), 1_000))
    assert [len(block.lines) for block in blocks] == [6, 4, 1, 50, 50, 21]
    assert [line for block in blocks for line in block.lines] == list(range(1, 133))
    assert [mail for block in blocks for mail in block.values["email"]] == mails
