"""Arrow IPC streams, message by message, as columns of Python values.

The reader is our own, in Python with NumPy, for what comes over a network: the light libraries that
read Arrow trust lengths and offsets, and a hostile stream ends their process. Here a number that
leads outside its buffer is an error like any other. Format: the Arrow columnar format, version 1.5.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NoReturn
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from paydesk.bulk.rows import ABSENT, NUMBERS, Block
from paydesk.bulk.unpacking import BrokenOffError, Bytes
from paydesk.risk.columns import DataError

MESSAGE_LIMIT = 16 * 1024 * 1024
MOST_ROWS = 1_000_000  # of one batch
_MOST_COLUMNS = 4_096
_MOST_DICTIONARY = 16 * 1024 * 1024
_A_MESSAGE = 64 * 1024  # what each costs at least: adding to a dictionary copies it
_HEAD_LIMIT = 1024 * 1024
_DEEPEST = 16  # of columns within columns
_LARGEST_SCALE = 76
_BYTES = {bits: bits // 8 for bits in (8, 16, 32, 64, 128, 256)}
_CONTINUES = b"\xff\xff\xff\xff"
_SCHEMA, _DICTIONARY_BATCH, _RECORD_BATCH = 1, 2, 3
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The types by their numbers in Schema.fbs, each with how many buffers it has.
_TYPES = {
    1: ("null", 0),
    2: ("integer", 2),
    3: ("floating point", 2),
    4: ("binary", 3),
    5: ("string", 3),
    6: ("boolean", 2),
    7: ("decimal", 2),
    8: ("date", 2),
    9: ("time", 2),
    10: ("timestamp", 2),
    11: ("interval", 2),
    12: ("list", 2),
    13: ("struct", 1),
    15: ("fixed size binary", 2),
    16: ("fixed size list", 1),
    17: ("map", 2),
    18: ("duration", 2),
    19: ("large binary", 3),
    20: ("large string", 3),
    21: ("large list", 2),
}
_TEXTS = frozenset({"string", "large string"})
_REALS = frozenset({"floating point", "decimal"})
# Of an hour, in s, ms, us and ns: no zone differs from UTC by less.
_A_QUARTER = (900, 900_000, 900_000_000, 900_000_000_000)
_UNREADABLE = (struct.error, ValueError, IndexError, KeyError, TypeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the schema; `form` is its NumPy type, `keys` that of its keys in a dictionary."""

    name: str
    kind: str
    form: str = ""
    scale: int = 0
    unit: int = 0
    zone: str = ""
    dictionary: int | None = None
    keys: str = ""
    children: "tuple[Column, ...]" = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """A record batch: its body, and where in it each column's values are."""

    rows: int
    body: bytes
    columns: Sequence[Column]
    places: Sequence[Sequence[tuple[int, int]]]  # of each column: offset and length of its buffers
    dictionaries: Mapping[int, list[Any]]

    def values(self, position: int) -> list[Any]:
        """A column's values; None where there is none. Raises BrokenOffError."""
        column, places = self.columns[position], self.places[position]
        try:
            return _values(column, self.rows, self.body, places, self.dictionaries)
        except _UNREADABLE as error:
            message = f"The Arrow stream is damaged here, in the column {column.name!r}."
            raise BrokenOffError(message) from error


@dataclass(frozen=True, slots=True)
class Batches:
    """Record batches; `positions` are the columns to take, by Paydesk's names."""

    positions: Mapping[str, int]

    def block(self, first: int, batch: Batch) -> Block:
        """The rows of a batch, of which the first is row `first` of the input.

        Raises BrokenOffError.
        """
        values = {name: _taken(name, batch, n) for name, n in self.positions.items()}
        at = self.positions.get("timestamp")
        if at is not None and batch.columns[at].kind == "timestamp":
            # The hour is all that is asked of it, and a time of that type needs no check.
            hours = values.pop("timestamp")
            sent = values.get("hour", hours)
            values["hour"] = [
                hour if own is None else own for own, hour in zip(sent, hours, strict=True)
            ]
        return Block(range(first, first + batch.rows), values)


def _taken(name: str, batch: Batch, position: int) -> list[Any]:
    found = batch.values(position)
    column = batch.columns[position]
    if column.kind == "timestamp":
        return _hours(column, found)
    if name == "hour" and column.kind in _REALS:
        # What pandas makes of whole numbers where some are missing.
        return [_whole(value) for value in found]
    if name not in {"category", "customer_id", "store", "hour", "timestamp"} and None in found:
        return [ABSENT if value is None else value for value in found]
    return found


def check_types(place: str, columns: Sequence[Column], positions: Mapping[str, int]) -> None:
    """Raises DataError where a column is of a type that its field cannot be."""
    for ours, position in positions.items():
        column = columns[position]
        fits, wanted = _TEXTS | {"integer"}, "a text"
        if ours in NUMBERS:
            fits, wanted = _REALS | {"integer"}, "a number"
        elif ours == "timestamp":
            fits, wanted = _TEXTS | {"timestamp"}, "a timestamp or a text"
        if column.kind not in fits | {"null"}:
            message = (
                f"{place}: the column {column.name!r}, for {ours}, has the type {column.kind}; "
                f"it has to be {wanted}."
            )
            raise DataError(message)


def open_stream(source: Bytes) -> tuple[list[Column], Iterator[Batch]]:
    """An IPC stream's columns and batches, read as they are asked for.

    Raises DataError; the iterator raises BrokenOffError where the stream ends too early or is
    damaged.
    """
    try:
        head, _ = _message(source) or _broken("it is empty")
        message = _Table(head, 0)
        if message.number("<B", 1) != _SCHEMA:
            _broken("it does not begin with a schema")
        left = iter(range(_MOST_COLUMNS))
        columns = [_column(field, 0, left) for field in message.table(2).tables(1)]
    except BrokenOffError as error:
        raise DataError(f"This is no Arrow IPC stream that Paydesk reads: {error}") from error
    except _UNREADABLE as error:
        raise DataError("This is no Arrow IPC stream: its schema cannot be read.") from error
    return columns, _batches(source, columns)


def _batches(source: Bytes, columns: list[Column]) -> Iterator[Batch]:
    dictionaries: dict[int, list[Any]] = {}
    spent = 0  # bytes of dictionaries, which are kept to the end
    encoded = {column.dictionary: column for column in columns if column.dictionary is not None}
    try:
        while (found := _message(source)) is not None:
            head, body = found
            message = _Table(head, 0)
            kind = message.number("<B", 1)
            if kind == _RECORD_BATCH:
                yield _batch(message.table(2), body, columns, dictionaries)
            elif kind == _DICTIONARY_BATCH:
                table = message.table(2)
                number = table.number("<q", 0)
                if number not in encoded:
                    continue  # Of a column within a column, which nobody takes.
                plain = [_without_dictionary(encoded[number])]
                spent += len(body) + _A_MESSAGE
                if spent > _MOST_DICTIONARY:
                    _broken("its dictionaries are too large")
                new = _batch(table.table(1), body, plain, {}).values(0)
                old = dictionaries.get(number, []) if table.number("<B", 2) else []
                if len(old) + len(new) > MOST_ROWS:
                    _broken(f"a dictionary has more than {MOST_ROWS:,} values")
                dictionaries[number] = old + new
            else:
                _broken("there is a message of another kind")
    except _UNREADABLE as error:
        raise BrokenOffError("The Arrow stream is damaged from here on.") from error


def _message(source: Bytes) -> tuple[bytes, bytes] | None:
    """The next message's head and body; None at the stream's end."""
    prefix = _exactly(source, 8)
    if prefix[:4] != _CONTINUES:
        _broken("it has not the form of one")
    (length,) = struct.unpack("<i", prefix[4:])
    if length == 0:
        return None
    if not 0 < length <= _HEAD_LIMIT:
        _broken("a message has a head of no sensible length")
    head = _exactly(source, length)
    body = _Table(head, 0).number("<q", 3)
    if not 0 <= body <= MESSAGE_LIMIT:
        _broken(f"a record batch has more than {MESSAGE_LIMIT:,} bytes; write smaller ones")
    return head, _exactly(source, body)


def _exactly(source: Bytes, size: int) -> bytes:
    parts: list[bytes] = []
    left = size
    while left:
        part = source.read(left)
        if not part:
            raise BrokenOffError("The Arrow stream breaks off here: its end is missing.")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _broken(why: str) -> NoReturn:
    raise BrokenOffError(f"The Arrow stream cannot be read from here on: {why}.")


def _column(field: "_Table", depth: int, left: Iterator[int]) -> Column:
    if depth > _DEEPEST:
        _broken("its columns nest too deep")
    # Children may be shared, and theirs: a few hundred bytes then stand for millions of columns.
    if next(left, None) is None:
        _broken(f"it has more than {_MOST_COLUMNS:,} columns")
    name = field.text(0)
    number = field.number("<B", 2)
    if number not in _TYPES:
        _broken(f"the column {name[:40]!r} has a type that is not read here; write it as a string")
    kind, _ = _TYPES[number]
    of = field.table(3)
    made: dict[str, Any] = {}
    if kind == "integer":
        made["form"] = _integer(of)
    elif kind == "floating point":
        made["form"] = ("<f2", "<f4", "<f8")[of.number("<h", 0)]
    elif kind == "decimal":
        made["form"] = f"V{_BYTES[of.number('<i', 2) or 128]}"
        made["scale"] = of.number("<i", 1)
        if abs(made["scale"]) > _LARGEST_SCALE:
            _broken("a decimal has no sensible scale")
    elif kind == "timestamp":
        made |= {"form": "<i8", "unit": of.number("<h", 0), "zone": of.text(1)}
        if not 0 <= made["unit"] < len(_A_QUARTER):
            _broken("a timestamp has no such unit")
    if field.has(4):
        encoding = field.table(4)
        keys = _integer(encoding.table(1)) if encoding.has(1) else "<i4"
        made |= {"dictionary": encoding.number("<q", 0), "keys": keys}
    children = tuple(_column(child, depth + 1, left) for child in field.tables(5))
    return Column(name, kind, children=children, **made)


def _integer(of: "_Table") -> str:
    return f"<{'i' if of.number('<B', 1) else 'u'}{_BYTES[of.number('<i', 0)]}"


def _without_dictionary(column: Column) -> Column:
    return Column(column.name, column.kind, column.form, column.scale, column.unit, column.zone)


def _batch(
    table: "_Table", body: bytes, columns: list[Column], dictionaries: Mapping[int, list[Any]]
) -> Batch:
    rows = table.number("<q", 0)
    if not 0 <= rows <= MOST_ROWS:
        _broken(f"a record batch has more than {MOST_ROWS:,} rows")
    if table.has(3):
        _broken("its buffers are compressed; write it without, and compress the whole instead")
    nodes = iter(table.structs(1, "<qq"))
    buffers = iter(table.structs(2, "<qq"))
    places = []
    for column in columns:
        length, own = _places(column, nodes, buffers)
        if length != rows:
            _broken("a column has another number of rows than its batch")
        places.append(own)
    return Batch(rows, body, columns, places, dictionaries)


def _places(
    column: Column, nodes: Iterator[tuple[int, ...]], buffers: Iterator[tuple[int, ...]]
) -> tuple[int, list[tuple[int, int]]]:
    """How many rows a column has, and where its own buffers are; those of its children go by."""
    node = next(nodes, None) or _broken("a column is missing")
    count = 2 if column.dictionary is not None else dict(_TYPES.values())[column.kind]
    own = []
    for _ in range(count):
        offset, length = next(buffers, None) or _broken("a buffer is missing")
        if offset < 0 or length < 0:
            _broken("a buffer is at no place")
        own.append((offset, length))
    if column.dictionary is None:
        for child in column.children:
            _places(child, nodes, buffers)
    return node[0], own


def _values(
    column: Column,
    rows: int,
    body: bytes,
    places: Sequence[tuple[int, int]],
    dictionaries: Mapping[int, list[Any]],
) -> list[Any]:
    if column.kind == "null" and column.dictionary is None:
        return [None] * rows
    parts = [body[offset : offset + length] for offset, length in places]
    found: list[Any]
    if column.dictionary is not None:
        meant = dictionaries.get(column.dictionary, [])
        keys = np.frombuffer(parts[1], column.keys, rows)
        there = _there(parts[0], rows)
        used = keys if there is None else keys[there]
        if len(used) and not (used.min() >= 0 and used.max() < len(meant)):
            raise IndexError(len(meant))
        # What stands where there is nothing may be any number.
        found = [meant[key] if key < len(meant) else None for key in np.abs(keys).tolist()]
    elif column.kind in _TEXTS:
        form = "<i4" if column.kind == "string" else "<i8"
        ends = np.frombuffer(parts[1], form, rows + 1) if rows else np.zeros(1, np.int64)
        if ends[0] < 0 or (np.diff(ends) < 0).any() or ends[-1] > len(parts[2]):
            raise IndexError(len(parts[2]))
        found = _texts(parts[2], ends.tolist())
    elif column.kind == "decimal":
        raw = np.frombuffer(parts[1], column.form, rows).tolist()
        found = [int.from_bytes(one, "little", signed=True) / 10**column.scale for one in raw]
    elif column.form:
        found = np.frombuffer(parts[1], column.form, rows).tolist()
    else:
        raise ValueError(column.kind)
    there = _there(parts[0], rows)
    if there is not None:
        for n in np.flatnonzero(~there).tolist():
            found[n] = None
    return found


def _there(bits: bytes, rows: int) -> NDArray[np.bool_] | None:
    if not bits:
        return None
    marks = np.unpackbits(np.frombuffer(bits, np.uint8), count=rows, bitorder="little")
    if len(bits) * 8 < rows:
        raise IndexError(rows)
    return marks.astype(bool)


def _texts(data: bytes, ends: list[int]) -> list[Any]:
    if data.isascii():
        whole = data.decode("ascii")
        return [whole[begin:end] for begin, end in pairwise(ends)]
    return [data[begin:end].decode("utf-8") for begin, end in pairwise(ends)]


def _whole(value: float | None) -> float | int | None:
    if value is None or value != value:  # noqa: PLR0124 (not a number)
        return None
    return int(value) if value.is_integer() else value


def _hours(column: Column, times: list[Any]) -> list[int | None]:
    """The hour on the spot of each time; of those with a zone, in that zone."""
    clock = _clock(column.zone)
    quarter = _A_QUARTER[column.unit]
    try:
        known = {key: clock(key * 900) for key in {t // quarter for t in times if t is not None}}
    except (OverflowError, ValueError) as error:
        message = f"The column {column.name!r} has a time that no calendar has."
        raise BrokenOffError(message) from error
    return [None if time is None else known[time // quarter] for time in times]


def _utc(seconds: int) -> int:
    return seconds // 3_600 % 24


def _clock(zone: str) -> Callable[[int], int]:
    if zone in {"", "UTC", "Z"}:
        return _utc
    try:
        if zone[0] in "+-":
            sign = -1 if zone[0] == "-" else 1
            shift = sign * (int(zone[1:3]) * 3_600 + int(zone[-2:]) * 60)
            return lambda seconds: _utc(seconds + shift)
        place = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        message = f"The time zone {zone[:40]!r} of the timestamps is not known here."
        raise BrokenOffError(message) from error
    return lambda seconds: (_EPOCH + timedelta(seconds=seconds)).astimezone(place).hour


class _Table:
    """A table of a FlatBuffer. Reading past the buffer raises struct.error."""

    def __init__(self, buffer: bytes, place: int) -> None:
        self._buffer = buffer
        self._at = place + self._read("<I", place)
        self._fields = self._at - self._read("<i", self._at)

    def has(self, field: int) -> bool:
        """Whether the field is there."""
        return self._place(field) != 0

    def number(self, form: str, field: int) -> int:
        """A number; 0 where it is left out."""
        place = self._place(field)
        return self._read(form, place) if place else 0

    def text(self, field: int) -> str:
        """A text; empty where it is left out."""
        if not self.has(field):
            return ""
        begin, length = self._vector(field)
        if begin + length > len(self._buffer):
            raise struct.error("past the buffer")
        return self._buffer[begin : begin + length].decode("utf-8")

    def table(self, field: int) -> "_Table":
        """A table that the field leads to."""
        place = self._place(field)
        if not place:
            raise struct.error("no such table")
        return _Table(self._buffer, place)

    def tables(self, field: int) -> list["_Table"]:
        """A vector of tables; empty where it is left out."""
        if not self.has(field):
            return []
        begin, length = self._vector(field)
        return [_Table(self._buffer, begin + 4 * n) for n in range(self._fitting(length, 4))]

    def structs(self, field: int, form: str) -> list[tuple[int, ...]]:
        """A vector of structs; empty where it is left out."""
        if not self.has(field):
            return []
        begin, length = self._vector(field)
        size = struct.calcsize(form) * self._fitting(length, struct.calcsize(form))
        return list(struct.iter_unpack(form, self._buffer[begin : begin + size]))

    def _fitting(self, length: int, size: int) -> int:
        if length * size > len(self._buffer):
            raise struct.error("longer than the buffer")
        return length

    def _vector(self, field: int) -> tuple[int, int]:
        place = self._place(field)
        begin = place + self._read("<I", place)
        return begin + 4, self._read("<I", begin)

    def _place(self, field: int) -> int:
        position = 4 + 2 * field
        if position >= self._read("<H", self._fields):
            return 0
        offset = self._read("<H", self._fields + position)
        return self._at + offset if offset else 0

    def _read(self, form: str, place: int) -> int:
        if place < 0:
            raise struct.error("before the buffer")
        found: int = struct.unpack_from(form, self._buffer, place)[0]
        return found
