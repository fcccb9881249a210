"""Rows of every form are taken or refused as /score does, each bad one in its place."""

import gzip
import io
import json
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from paydesk.bulk.arrow import Batches, check_types, open_stream
from paydesk.bulk.rows import FIELDS, take
from paydesk.bulk.text import LINE_LIMIT, Csv, JsonLines, Piece, heading, pieces
from paydesk.bulk.unpacking import BrokenOffError, Unpacked
from paydesk.json_text import JsonTextError, parse_object
from paydesk.risk.columns import DataError
from paydesk.risk.transaction import ScoredTransaction

LAYOUT = JsonLines({name: name for name in FIELDS})
PATIENT = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)

texts = st.text(max_size=6) | st.sampled_from(["payment:1", "x" * 201, "a\x00", "é", "TX1"])
values = (
    st.none()
    | st.booleans()
    | st.integers(-3, 30)
    | st.integers()
    | st.floats()
    | texts
    | st.sampled_from(["2026-03-01T02:30:00Z", "2026-03-01", "2026-02-30T00:00:00", "1772334000"])
    | st.lists(st.integers(), max_size=1)
)
rows = st.dictionaries(st.sampled_from(FIELDS), values) | st.builds(
    lambda rest: {"amount": 5.0, **rest}, st.dictionaries(st.sampled_from(FIELDS), values)
)


def one_by_one(row: Mapping[str, Any]) -> ScoredTransaction | str:
    """What /score makes of a row."""
    try:
        return ScoredTransaction.model_validate(row)
    except ValidationError:
        return "refused"


@PATIENT
@given(st.lists(rows, max_size=6))
def test_columns_take_what_score_takes_one_by_one(sent: list[dict[str, Any]]) -> None:
    lines = []
    for row in sent:
        try:
            lines.append(json.dumps(row, allow_nan=False).encode())
        except ValueError:
            lines.append(b'{"amount": NaN}')
    taken = take(LAYOUT.block(Piece(1, b"\n".join(lines))))
    refused = {row.line for row in taken.refused}
    for number, text in enumerate(lines, 1):
        try:
            expected = one_by_one(parse_object(text))
        except JsonTextError:
            expected = "refused"
        if isinstance(expected, str):
            assert number in refused
            continue
        n = taken.lines.index(number)
        assert taken.tx_ids[n] == expected.tx_id
        for name, column in taken.columns.items():
            assert column[n] == getattr(expected, name), name


@PATIENT
@given(st.binary(max_size=200), st.integers(1, 40), st.booleans())
def test_pieces_are_the_input_whatever_its_bytes(data: bytes, size: int, quoted: bool) -> None:
    data = data.replace(b"\xff\xfe", b"").replace(b"\xfe\xff", b"").replace(b"\xef\xbb\xbf", b"")
    cut = list(pieces(io.BytesIO(data), size, quoted=quoted))
    if not any(piece.refused for piece in cut):
        assert b"".join(piece.data for piece in cut) == data
    line = 1
    for piece in cut:
        assert piece.first == line
        line += piece.data.count(b"\n") + len(piece.refused)


@PATIENT
@given(st.binary(max_size=200), st.integers(1, 40), st.booleans())
def test_a_source_that_gives_byte_by_byte_is_cut_like_one_that_gives_all(
    data: bytes, size: int, quoted: bool
) -> None:
    class Drip:
        def __init__(self) -> None:
            self.whole = io.BytesIO(data)

        def read(self, size: int, /) -> bytes:
            return self.whole.read(min(size, 1))

    def cut(source: Drip | io.BytesIO) -> list[Piece] | str:
        try:
            return list(pieces(source, size, quoted=quoted))
        except DataError as error:
            return str(error)

    assert cut(Drip()) == cut(io.BytesIO(data))


def read_csv(text: bytes, size: int = 1 << 20) -> tuple[list[str], list[tuple[int, str]]]:
    """The ids taken, and what was refused on which line."""
    cut = pieces(io.BytesIO(text), size, quoted=True)
    has, rest = heading(next(cut))
    layout = Csv({name: has.index(name) for name in FIELDS if name in has}, len(has))
    ids, refused = [], []
    for piece in (rest, *cut):
        taken = take(layout.block(piece))
        ids += taken.tx_ids
        refused += [(row.line, row.error) for row in taken.refused]
    return ids, refused


def test_a_csv_file_keeps_its_lines() -> None:
    text = (
        b"tx_id,amount,hour,category\r\n"
        b"A,12.5,3,food\r\n"
        b'"B\n2",12.5,3,food\r\n'
        b"\r\n"
        b"C,12.5\r\n"
        b"D,twelve,3,food\r\n"
        b'"E,",12.5,3.0,"a ""quoted"" shop"\r\n'
        b"F,1_000,,\r\n"
        b"G,,3,\r\n"
        b"payment:1,5,3,\r\n"
        b",7,,\r\n"
        b"H,1e3,24,food\r\n"
        b"I,nan,2,\xff\r\n"
        b"J,1,2,food"
    )
    ids, refused = read_csv(text)
    assert ids == ["A", "E,", "unknown", "J"]
    assert [line for line, _ in refused] == [3, 6, 7, 9, 10, 11, 13, 14]
    said = dict(refused)
    assert said[6] == "It has 2 fields where the heading has 4."
    assert said[7] == "amount: Input should be a valid number"
    assert said[10] == "Missing required field 'amount'"
    assert "payment" in said[11]
    assert said[14] == "It is not UTF-8; save the file as UTF-8."


@pytest.mark.parametrize("size", [7, 64, 1 << 20])
def test_a_quote_that_is_never_closed_costs_its_own_line(size: int) -> None:
    ids, refused = read_csv(b'tx_id,amount\nA,1\n"B,2\nC,3\nD,4\n', size)
    assert ids == ["A", "C", "D"]
    assert refused == [(3, "A quote is opened on this line and never closed.")]


@pytest.mark.parametrize("quoted", [False, True])
def test_a_line_too_long_is_refused_in_its_place(quoted: bool) -> None:
    class Endless:
        """A line of 64 MiB between two good ones, never in memory as a whole."""

        def __init__(self) -> None:
            self.parts = iter(
                [b'{"amount": 1}\n', *([b"x" * LINE_LIMIT] * 64), b'\n{"amount": 2}\n']
            )

        def read(self, size: int, /) -> bytes:
            del size
            return next(self.parts, b"")

    cut = list(pieces(Endless(), 1 << 20, quoted=quoted))
    assert max(len(piece.data) for piece in cut) < 100
    assert [row.line for piece in cut for row in piece.refused] == [2]
    good = [piece for piece in cut if piece.data]
    assert [piece.first for piece in good] == [1, 3]


def test_a_truncated_gzip_gives_its_rows_and_then_one_refusal() -> None:
    whole = gzip.compress(b"".join(b'{"amount": %d}\n' % n for n in range(100_000)))
    cut = list(pieces(Unpacked(io.BytesIO(whole[: len(whole) // 2]), "gzip"), 4096, quoted=False))
    lines = sum(piece.data.count(b"\n") for piece in cut)
    assert 1_000 < lines < 100_000
    refused = [row for piece in cut for row in piece.refused]
    assert [row.line for row in refused] == [lines + 1]
    assert refused[0].error.startswith("The gzip data breaks off here")
    assert all(piece.data.endswith(b"\n") for piece in cut if piece.data)


def stream(table: pa.Table, **options: Any) -> bytes:
    """An Arrow IPC stream as pyarrow writes it."""
    written = io.BytesIO()
    with pa.ipc.new_stream(written, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as to:
        to.write_table(table)
    return written.getvalue()


TABLE = pa.table(
    {
        "amount": pa.array([12.5, None, 3.0, -1.0]),
        "tx_id": ["A", "é", None, "D"],
        "category": pa.array(["food", None, "toys", "food"]).dictionary_encode(),
        "customer_id": pa.array([7, 8, 9, 10], pa.int32()),
        "hour": pa.array([3.0, float("nan"), None, 5.0]),
        "timestamp": pa.array([0, 1, 3_600 * 11, 2], pa.timestamp("s", "Europe/Warsaw")),
        "items": [[1], [2, 3], [], [4]],
        "shop": [{"name": "a"}] * 4,
        "cents": pa.array([Decimal("1.25")] * 4, pa.decimal128(9, 2)),
        "store": pa.array(["s", "t", "u", None], pa.large_string()),
    }
)
POSITIONS = {name: TABLE.schema.names.index(name) for name in FIELDS}


def test_an_arrow_stream_is_read_as_pyarrow_wrote_it() -> None:
    columns, batches = open_stream(io.BytesIO(stream(TABLE)))
    check_types("it", columns, POSITIONS)
    (batch,) = batches
    for name in ("amount", "tx_id", "category", "customer_id", "cents", "store"):
        position = TABLE.schema.names.index(name)
        assert batch.values(position) == TABLE.column(name).to_pylist(), name
    taken = take(Batches(POSITIONS).block(1, batch))
    assert taken.lines == [1, 3]
    assert taken.tx_ids == ["A", "unknown"]
    assert taken.columns["hour"].tolist() == [3, 12]  # 11 h UTC is 12 h in Warsaw's winter
    assert taken.columns["customer_id"].tolist() == ["7", "9"]
    assert [row.line for row in taken.refused] == [2, 4]
    assert taken.refused[0].error == "Missing required field 'amount'"


def test_a_column_of_another_type_is_named() -> None:
    columns, _ = open_stream(io.BytesIO(stream(TABLE)))
    with pytest.raises(DataError, match="the column 'items', for amount, has the type list"):
        check_types("it", columns, {"amount": TABLE.schema.names.index("items")})


def test_buffers_compressed_inside_an_arrow_stream_are_refused() -> None:
    _, batches = open_stream(io.BytesIO(stream(TABLE, compression="zstd")))
    with pytest.raises(BrokenOffError, match="its buffers are compressed"):
        next(batches)


@PATIENT
@given(st.data())
def test_a_damaged_arrow_stream_is_an_error_like_any_other(data: st.DataObject) -> None:
    whole = bytearray(stream(TABLE))
    for _ in range(data.draw(st.integers(1, 8))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(0, len(whole))) :]
    with suppress(DataError, BrokenOffError):
        columns, batches = open_stream(io.BytesIO(bytes(whole)))
        positions = {name: n for name, n in POSITIONS.items() if n < len(columns)}
        check_types("it", columns, positions)
        for batch in batches:
            take(Batches(positions).block(1, batch))


def test_a_schema_has_an_end() -> None:
    def stream(columns: int) -> io.BytesIO:
        batch = pa.record_batch({f"c{n}": [1] for n in range(columns)})
        written = io.BytesIO()
        with pa.ipc.new_stream(written, batch.schema) as writer:
            writer.write_batch(batch)
        return io.BytesIO(written.getvalue())

    assert len(open_stream(stream(4_000))[0]) == 4_000
    with pytest.raises(DataError, match="more than 4,096 columns"):
        open_stream(stream(4_200))
