"""JSON Lines and CSV: bytes cut where a row ends, and the rows of each piece as columns.

No row is longer than LINE_LIMIT: what is gets a Refused in its place, and is never in memory.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from paydesk.bulk.rows import ABSENT, NUMBERS, Block, Refused
from paydesk.bulk.unpacking import BrokenOffError, Bytes
from paydesk.json_text import JsonTextError, parse_object, surely_plain, whole_number
from paydesk.risk.columns import DataError

LINE_LIMIT = 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_ESCAPED = re.compile("[\udc80-\udcff]")  # What stands for a byte that is not UTF-8.
csv.field_size_limit(LINE_LIMIT)


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole rows of an input; `first` is the line on which they begin."""

    first: int
    data: bytes
    refused: tuple[Refused, ...] = ()


def pieces(source: Bytes, size: int, *, quoted: bool) -> Iterator[Piece]:
    """The input in pieces of about `size` bytes; `quoted`: a row goes on while a quote is open.

    An input that breaks off ends with a Refused of what is wrong; the rows before it are whole.
    """
    whole = _UntilItBreaks(source)
    kept, line, started = b"", 1, False
    while True:
        read = whole.read(size)
        if not started:
            started, read = True, _without_mark(read)
        kept += read
        if not read and whole.broken is not None:
            yield Piece(line, b"", (Refused(line, whole.broken),))  # What is kept has no end.
            return
        while True:
            end = _whole_rows(kept, quoted=quoted, ended=not read)
            if end:
                yield Piece(line, kept[:end])
                line += kept.count(b"\n", 0, end)
                kept = kept[end:]
            if len(kept) <= LINE_LIMIT and (read or not kept):
                break
            why = f"This line is longer than {LINE_LIMIT:,} bytes, the most that Paydesk reads."
            if quoted and (b"\n" in kept or len(kept) <= LINE_LIMIT):
                why = "A quote is opened on this line and never closed."
            yield Piece(line, b"", (Refused(line, why),))
            kept = _after_line(whole, kept, size)
            line += 1
        if not read:
            return


class _UntilItBreaks:
    """Ends where its source breaks, and keeps what is said of it."""

    def __init__(self, source: Bytes) -> None:
        self._source = source
        self.broken: str | None = None

    def read(self, size: int, /) -> bytes:
        """As many bytes as that, unless it ends: a source may give them one by one."""
        parts: list[bytes] = []
        while size > 0 and self.broken is None:
            try:
                part = self._source.read(size)
            except BrokenOffError as error:
                self.broken = str(error)
                break
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _whole_rows(kept: bytes, *, quoted: bool, ended: bool) -> int:
    """How many of these bytes are whole rows; the last row of all may lack its line break."""
    end = len(kept) if ended else kept.rfind(b"\n") + 1
    if quoted:
        quotes = kept.count(b'"', 0, end)
        while end and quotes % 2:
            # The line of the last quote; those behind it have none.
            before = kept.rfind(b"\n", 0, kept.rfind(b'"', 0, end)) + 1
            quotes -= kept.count(b'"', before, end)
            end = before
    return end


def _without_mark(start: bytes) -> bytes:
    if start.startswith(_WIDE):
        raise DataError("This is UTF-16; save it as UTF-8.")
    return start.removeprefix(_BOM)


def _after_line(source: Bytes, kept: bytes, size: int) -> bytes:
    """Drops the line that `kept` begins with, however long it is."""
    while True:
        _, found, rest = kept.partition(b"\n")
        if found:
            return rest
        kept = source.read(size)
        if not kept:
            return b""


@dataclass(frozen=True, slots=True)
class JsonLines:
    """An object a line; `names` are the members to take, Paydesk's name to the file's."""

    names: Mapping[str, str]
    quoted = False

    def block(self, piece: Piece) -> Block:
        """The rows of a piece."""
        lines: list[int] = []
        texts: list[bytes] = []
        for number, text in enumerate(piece.data.split(b"\n"), piece.first):
            if text and not text.isspace():
                lines.append(number)
                texts.append(text)
        refused = list(piece.refused)
        rows = _quickly(texts, piece.data)
        if rows is None:
            rows, good = [], []
            for number, text in zip(lines, texts, strict=True):
                try:
                    if len(text) > LINE_LIMIT:
                        raise JsonTextError(f"This line is longer than {LINE_LIMIT:,} bytes.")
                    rows.append(parse_object(text, what="The line"))
                    good.append(number)
                except JsonTextError as error:
                    refused.append(Refused(number, str(error)))
            lines = good
        values = {
            ours: [row.get(theirs, ABSENT) for row in rows] for ours, theirs in self.names.items()
        }
        return Block(lines, values, refused)


def _quickly(texts: list[bytes], data: bytes) -> list[dict[str, Any]] | None:
    try:
        rows: list[dict[str, Any]] = [orjson.loads(text) for text in texts]
        members = sum(map(len, rows))
    except (orjson.JSONDecodeError, TypeError):
        return None
    if set(map(type, rows)) - {dict} or len(data) > LINE_LIMIT:
        return None
    return rows if surely_plain(data, objects=len(rows), members=members) else None


@dataclass(frozen=True, slots=True)
class Csv:
    """A record a row, after a heading of `width` columns; `positions` are those to take."""

    positions: Mapping[str, int]
    width: int
    quoted = True

    def block(self, piece: Piece) -> Block:
        """The rows of a piece. A field without text is absent."""
        damaged = False
        try:
            text = piece.data.decode("utf-8")
        except UnicodeDecodeError:
            damaged = True
            text = piece.data.decode("utf-8", "surrogateescape")
        refused = list(piece.refused)
        lines: list[int] = []
        records: list[list[str]] = []
        for begins, record in _records(text, piece.first, refused):
            if len(record) != self.width:
                why = f"It has {len(record)} fields where the heading has {self.width}."
                refused.append(Refused(begins, why))
            elif damaged and _ESCAPED.search("".join(record)):
                refused.append(Refused(begins, "It is not UTF-8; save the file as UTF-8."))
            else:
                lines.append(begins)
                records.append(record)
        values: dict[str, list[Any]] = {}
        for name, position in self.positions.items():
            column = [record[position] for record in records]
            values[name] = (
                _numbers(column) if name in NUMBERS else [text or ABSENT for text in column]
            )
        if "hour" in values:
            values["hour"] = [whole_number(value) for value in values["hour"]]
        return Block(lines, values, refused)


def heading(piece: Piece) -> tuple[list[str], Piece]:
    """The names of a CSV input's columns, and the rest of its first piece."""
    if piece.refused:
        raise DataError(f"The heading cannot be read: {piece.refused[0].error}")
    try:
        text = piece.data.decode("utf-8")
    except UnicodeDecodeError as error:
        end = piece.data.find(b"\n") + 1
        if 0 < end <= error.start:
            text = piece.data[:end].decode("utf-8")
        else:
            raise DataError("The heading is not UTF-8; save it as UTF-8.") from error
    if "\r" in text and "\n" not in text:
        raise DataError("Its lines end with CR alone; save it with LF or CRLF.")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next((record for record in reader if record), None)
    except csv.Error as error:
        raise DataError(f"The heading is not CSV: {error}.") from error
    if names is None:
        raise DataError("There is no heading: the first line of CSV names the columns.")
    read = reader.line_num
    rest = piece.data.split(b"\n", read)
    return [name.strip() for name in names], Piece(
        piece.first + read, rest[read] if len(rest) > read else b""
    )


def _records(text: str, first: int, refused: list[Refused]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = first
    while True:
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            refused.append(Refused(begins, f"This is not CSV: {error}."))
            record = []
        if record:
            yield begins, record
        begins = first + reader.line_num


def _numbers(column: list[str]) -> list[Any]:
    try:
        # Python's own reading takes underlines, which no other does, and words like nan.
        if "_" not in "".join(column):
            return list(map(float, column))
    except ValueError:
        pass
    return [float(text) if _NUMBER.fullmatch(text) else text or ABSENT for text in column]
