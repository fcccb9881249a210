"""Bulk over HTTP: rows in, answers in their places out, logged as by /score, in any form."""

import gzip
import io
import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pytest
from backports import zstd
from conftest import Running, Trained
from service_process import Service, new_key

from training.transactions import simulate

ARROW = "application/vnd.apache.arrow.stream"
LINES = "application/x-ndjson"
GOOD = b'{"tx_id": "TX003", "amount": 4500.0, "category": "electronics", "hour": 3}'


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Transactions that the forest never saw, with times as a JSON client writes them."""
    made = simulate(customers=200, stores=100, days=20, seed=99).head(3_000)
    times = made["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S")
    return made.assign(timestamp=times).drop(columns=["label", "scenario"])


def post(client: httpx.Client, body: bytes, path: str = "/score/bulk", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(path, content=body, headers=named)


def rows_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The rows of an answer, whatever its form."""
    assert answer.status_code == 200, answer.text
    kind = answer.headers["content-type"].partition(";")[0]
    if kind == LINES:
        return [json.loads(line) for line in answer.text.splitlines()]
    if kind == ARROW:
        return list(pa.ipc.open_stream(answer.content).read_all().to_pylist())
    found = pd.read_csv(io.StringIO(answer.text), keep_default_na=False).to_dict("records")
    for row in found:
        for name in ("triggered_rules", "reasons"):
            row[name] = row[name].split("; ") if row[name] else []
    return [{str(name): value for name, value in row.items()} for row in found]


def as_jsonl(data: pd.DataFrame) -> bytes:
    return data.to_json(orient="records", lines=True).encode()


def as_csv(data: pd.DataFrame) -> bytes:
    return data.to_csv(index=False).encode()


def as_arrow(data: pd.DataFrame) -> bytes:
    table = pa.Table.from_pandas(data, preserve_index=False)
    written = io.BytesIO()
    with pa.ipc.new_stream(written, table.schema) as writer:
        writer.write_table(table, max_chunksize=700)
    return written.getvalue()


@pytest.mark.parametrize(
    ("write", "kind", "pack", "coding", "accept"),
    [
        (as_jsonl, LINES, bytes, "identity", LINES),
        (as_csv, "text/csv", gzip.compress, "gzip", ARROW),
        (as_arrow, ARROW, zstd.compress, "zstd", "text/csv"),
    ],
)
def test_every_form_gets_the_decisions_of_score(
    client: httpx.Client,
    data: pd.DataFrame,
    write: Any,
    kind: str,
    pack: Any,
    coding: str,
    accept: str,
) -> None:
    before = client.get("/stats").json()["total"]
    some = data.head(300)
    answer = post(
        client, pack(write(data)), content_type=kind, content_encoding=coding, accept=accept
    )
    found = rows_of(answer)
    assert [row["tx_id"] for row in found] == data["tx_id"].tolist()
    for row, tx in zip(found, some.to_dict("records"), strict=False):
        one = client.post("/score", json=tx).json()
        for name in ("score", "risk_level", "triggered_rules", "fraud", "reasons", "model"):
            assert row[name] == one[name], name
        assert row["fraud_probability"] == pytest.approx(one["fraud_probability"], abs=1e-6)
    assert client.get("/stats").json()["total"] == before + len(data) + len(some)
    last = found[-1]
    logged = client.get(f"/transaction/{last['tx_id']}").json()
    assert logged["decision_id"] == last["decision_id"]
    assert logged["reasons"] == last["reasons"]


def test_a_bad_row_is_an_error_in_its_place(client: httpx.Client) -> None:
    body = b"\n".join(
        [
            GOOD,
            b"{}",
            b"",
            b"not json",
            b'{"tx_id": "payment:1", "amount": 1}',
            b'{"amount": 1, "amount": 2}',
            b"[1]",
            b'{"tx_id": "\xff", "amount": 1}',
            GOOD,
        ]
    )
    rows = rows_of(post(client, body))
    assert [row.get("line") for row in rows] == [None, 2, 4, 5, 6, 7, 8, None]
    assert rows[0]["risk_level"] == rows[-1]["risk_level"] == "CRITICAL"
    assert rows[1]["error"] == "Missing required field 'amount'"
    assert rows[1]["errors"] == [{"field": "amount", "reason": rows[1]["error"]}]
    assert "names 'amount' twice" in rows[4]["error"]
    table = rows_of(post(client, body, accept=ARROW))
    assert [row["line"] for row in table] == [1, 2, 4, 5, 6, 7, 8, 9]
    assert [row["error"] for row in table] == [row.get("error") for row in rows]


def test_a_truncated_body_is_answered_as_far_as_it_is_whole(client: httpx.Client) -> None:
    packed = gzip.compress(b"\n".join([GOOD] * 20_000) + b"\n")
    rows = rows_of(post(client, packed[:-400], content_encoding="gzip"))
    assert len(rows) > 1_000
    assert all("decision_id" in row for row in rows[:-1])
    assert rows[-1]["line"] == len(rows)
    assert "breaks off here" in rows[-1]["error"]
    stream = as_arrow(pd.DataFrame({"amount": [1.0] * 1_000}))
    rows = rows_of(post(client, stream[:-1_000], content_type=ARROW))
    assert [len(rows), rows[-1]["line"]] == [701, 701]
    (only,) = rows_of(post(client, stream[:-4_000], content_type=ARROW))
    assert only["line"] == 1


def test_a_line_of_two_gigabytes_in_a_small_body_is_refused_in_its_place(
    trained: Trained, tmp_path: Path
) -> None:
    zeros = gzip.compress(bytes(16 * 1024**2))
    body = gzip.compress(GOOD + b"\n") + zeros * 128 + gzip.compress(b"\n" + GOOD)
    with Service(trained, tmp_path) as service, service.client(timeout=200) as client:
        before = memory(service)
        rows = rows_of(post(client, body, content_encoding="gzip"))
        assert [row.get("line") for row in rows] == [None, 2, None]
        assert "longer than 1,048,576 bytes" in rows[1]["error"]
        assert memory(service) - before < 60e6


def memory(service: Service) -> int:
    """The most bytes that the service has had."""
    return max(
        int(line.split()[1]) * 1024
        for process in service.processes()
        for line in Path(f"/proc/{process.pid}/status").read_text("utf-8").splitlines()
        if line.startswith("VmHWM")
    )


def test_memory_does_not_grow_with_the_body(trained: Trained, tmp_path: Path) -> None:
    def sent(rows: int) -> Iterator[bytes]:
        packer = zlib.compressobj(1, wbits=31)
        for n in range(0, rows, 1_000):
            lines = (b'{"tx_id":"T%d","amount":%d.5}\n' % (m, m % 997) for m in range(n, n + 1_000))
            yield packer.compress(b"".join(lines))
        yield packer.flush()

    def answered(client: httpx.Client, rows: int) -> int:
        found = 0
        with client.stream(
            "POST", "/score/bulk", content=sent(rows), headers={"Content-Encoding": "gzip"}
        ) as answer:
            assert answer.status_code == 200
            for part in answer.iter_bytes():
                found += part.count(b"\n")
        return found

    with Service(trained, tmp_path) as service, service.client(timeout=250) as client:
        assert answered(client, 10_000) == 10_000
        before = memory(service)
        assert answered(client, 150_000) == 150_000
        grown = memory(service) - before
        assert client.get("/stats").json()["total"] == 160_000
    print(f"{grown:,} bytes more for 15 times the rows")  # noqa: T201
    assert grown < 30e6


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b"a,b\n1,2\n", {"content_type": "text/csv"}, 400, "there is no column 'amount'"),
        (b"", {"content_type": "text/csv"}, 400, "There is no heading"),
        (b"\xff\xfeh", {}, 400, "UTF-16"),
        (b"nothing like it", {"content_type": ARROW}, 400, "Arrow IPC stream"),
        (b"", {"content_type": ARROW}, 400, "Arrow"),
        (GOOD, {"content_type": "application/xml"}, 415, "Rows come as"),
        (GOOD, {"content_type": "text/csv; charset=latin-1"}, 415, "charset 'latin-1'"),
        (GOOD, {"content_encoding": "br"}, 415, "gzip or zstd"),
        (GOOD, {"content_encoding": "gzip, gzip"}, 415, "gzip or zstd"),
        (GOOD, {"accept": "image/png"}, 406, "Answers are"),
        (GOOD, {"accept": "text/csv;q=0"}, 406, "Answers are"),
    ],
)
@pytest.mark.parametrize("path", ["/score/bulk", "/predict/bulk"])
def test_what_cannot_be_read_at_all_is_a_problem(
    client: httpx.Client, body: bytes, headers: dict[str, str], status: int, said: str, path: str
) -> None:
    answer = post(client, body, path, **headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert (
        said.replace("amount", "email" if path.startswith("/pre") else "amount")
        in (answer.json()["error"])
    )


def test_a_body_past_the_limit_is_refused_before_anything_is_scored(client: httpx.Client) -> None:
    before = client.get("/stats").json()["total"]
    parts = itertools.repeat((GOOD + b"\n") * 10_000, 100)
    answer = client.post("/score/bulk", content=parts)
    assert answer.status_code == 413
    assert client.get("/stats").json()["total"] == before


def test_an_empty_body_has_no_rows(client: httpx.Client) -> None:
    assert rows_of(post(client, b"")) == []
    assert rows_of(post(client, b"\n\n", accept=ARROW)) == []
    assert rows_of(post(client, b"amount\n", content_type="text/csv", accept="text/csv")) == []
    assert client.get("/score/bulk").status_code == 405


def test_mails_are_read_as_predict_reads_them(client: httpx.Client) -> None:
    mails = [
        "Please pay 1,250.00 EUR to Northwind Traders Ltd from Contoso GmbH.",
        "Nothing to pay.",
    ]
    lines = b"\n".join([*(json.dumps({"email": mail}).encode() for mail in mails), b'{"mail": 1}'])
    rows = rows_of(post(client, lines, "/predict/bulk"))
    expected = [client.post("/predict", json={"email": mail}).json() for mail in mails]
    assert rows[:2] == expected
    assert rows[2]["error"] == "Missing required field 'email'"
    table = rows_of(post(client, lines, "/predict/bulk", accept=ARROW))
    assert [row["accountA"] for row in table] == [expected[0]["accountA"], None, None]
    assert table[0]["confidence_amount"] == expected[0]["confidence"]["amount"]
    assert [row["line"] for row in table] == [1, 2, 3]


def test_scopes_are_those_of_the_single_routes(trained: Trained, tmp_path: Path) -> None:
    service = Service(trained, tmp_path, {"PAYDESK_ACCESS": "keys"})
    may_score, may_read = new_key(service, "score"), new_key(service, "read")
    may_both = new_key(service, "score", "read")
    mail = b'{"email": "Pay 5 EUR to Contoso GmbH."}'
    with service:
        for kind, body, good, bad in (
            ("score", GOOD, may_score, may_read),
            ("predict", mail, may_read, may_score),
        ):
            with service.client(good) as client:
                assert post(client, body, f"/{kind}/bulk").status_code == 200
                job = post(client, body, f"/{kind}/jobs", Idempotency_Key="one")
                where = job.headers["location"]
                assert client.get(where).status_code == 200
            for method, path in (
                ("POST", f"/{kind}/bulk"),
                ("POST", f"/{kind}/jobs"),
                ("GET", where),
                ("GET", f"{where}/result"),
                ("DELETE", where),
            ):
                with service.client(bad) as client:
                    assert client.request(method, path, content=body).status_code == 403
                with service.client() as client:
                    assert client.request(method, path, content=body).status_code == 401
            with service.client(may_both) as client:
                assert client.get(where).status_code == 200
                another = post(client, body, f"/{kind}/jobs", Idempotency_Key="one")
                assert another.headers["location"] != where


def test_a_client_that_goes_leaves_nothing(running: Running, client: httpx.Client) -> None:
    body = (GOOD + b"\n") * 50_000
    with client.stream("POST", "/score/bulk", content=body) as answer:
        next(answer.iter_bytes())
    assert httpx.get(f"{running.url}/health").status_code == 200
    assert not [path for path in running.home.iterdir() if path.name.startswith("tmp")]
