"""Answers as columns, and those as JSON Lines, CSV or an Arrow IPC stream, part by part."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import nanoarrow
import numpy as np
import orjson
from nanoarrow.c_array import CArray
from nanoarrow.c_array_stream import CArrayStream
from nanoarrow.ipc import StreamWriter

from paydesk.bulk.rows import Refused

Kind = Literal["text", "integer", "number", "boolean", "texts"]
Columns = Mapping[str, Sequence[Any]]

_TYPES = {
    "text": nanoarrow.string(),
    "integer": nanoarrow.int64(),
    "number": nanoarrow.float64(),
    "boolean": nanoarrow.bool_(),
    "texts": nanoarrow.list_(nanoarrow.string()),
}
_EMPTY = {"text": "", "integer": 0, "number": 0.0, "boolean": False, "texts": []}
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


class Form(Protocol):
    """How answers are written."""

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The columns."""

    def head(self) -> bytes:
        """What comes first."""

    def part(self, lines: Sequence[int], columns: Columns, refused: Sequence[Refused]) -> bytes:
        """Some rows: the good ones, which began on `lines`, the refused ones in their places."""

    def end(self) -> bytes:
        """What comes last."""


@dataclass(frozen=True)
class JsonLinesForm:
    """An object a row: the columns, or `line`, `error` and `errors`."""

    kinds: Mapping[str, Kind]

    def head(self) -> bytes:
        """Nothing."""
        return b""

    def part(self, lines: Sequence[int], columns: Columns, refused: Sequence[Refused]) -> bytes:
        """A line a row."""
        names = tuple(self.kinds)
        taken = [columns[name] for name in names]
        written = [
            orjson.dumps(dict(zip(names, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE)
            for row in zip(*taken, strict=True)
        ]
        if refused:
            written += [
                orjson.dumps(
                    {"line": row.line, "error": row.error, "errors": list(row.fields)},
                    option=orjson.OPT_APPEND_NEWLINE,
                )
                for row in refused
            ]
            written = [written[n] for n in _places(lines, refused)]
        return b"".join(written)

    def end(self) -> bytes:
        """Nothing."""
        return b""


@dataclass(frozen=True)
class CsvForm:
    """A record a row after a heading; a list is joined with `; `.

    `with_refused` adds the columns `line` and `error`, of which refused rows have nothing else.
    """

    kinds: Mapping[str, Kind]
    with_refused: bool

    def head(self) -> bytes:
        """The heading."""
        names = [*self.kinds, *(("line", "error") if self.with_refused else ())]
        return _csv([names])

    def part(self, lines: Sequence[int], columns: Columns, refused: Sequence[Refused]) -> bytes:
        """A record a row."""
        taken = [_shown(kind, columns[name]) for name, kind in self.kinds.items()]
        if not self.with_refused:
            return _csv(zip(*taken, strict=True))
        blank = [""] * len(taken)
        rows = [(*row, line, "") for *row, line in zip(*taken, lines, strict=True)]
        rows += [(*blank, row.line, row.error) for row in refused]
        return _csv(rows[n] for n in _places(lines, refused))

    def end(self) -> bytes:
        """Nothing."""
        return b""


@dataclass(frozen=True)
class ArrowForm:
    """An IPC stream with a record batch a part; `with_refused` as in CSV, null elsewhere."""

    kinds: Mapping[str, Kind]
    with_refused: bool

    def head(self) -> bytes:
        """The schema."""
        written = io.BytesIO()
        writer = StreamWriter.from_writable(written)
        writer.write_stream(CArrayStream.from_c_arrays([], nanoarrow.c_schema(self._schema)))
        writer.release()
        return written.getvalue()

    def part(self, lines: Sequence[int], columns: Columns, refused: Sequence[Refused]) -> bytes:
        """A record batch."""
        places = _places(lines, refused) if self.with_refused else range(len(lines))
        if not places:
            return b""
        arrays = []
        gaps: list[None] = [None] * len(refused)
        for name, kind in self.kinds.items():
            column = columns[name]
            if refused and self.with_refused:
                both = [*column, *gaps]
                column = [both[n] for n in places]
            arrays.append(_array(kind, column))
        if self.with_refused:
            numbers = [*lines, *(row.line for row in refused)]
            errors = [*([None] * len(lines)), *(row.error for row in refused)]
            arrays.append(_array("integer", [numbers[n] for n in places]))
            arrays.append(_array("text", [errors[n] for n in places]))
        batch = nanoarrow.c_array_from_buffers(
            self._schema, len(places), [None], children=arrays, move=True
        )
        written = io.BytesIO()
        writer = StreamWriter.from_writable(written)
        writer.write_array(batch, write_schema=False)
        writer.release()
        return written.getvalue()

    def end(self) -> bytes:
        """The mark of the end."""
        return _END_OF_STREAM

    @property
    def _schema(self) -> nanoarrow.Schema:
        kinds: dict[str, Kind] = dict(self.kinds)
        if self.with_refused:
            kinds |= {"line": "integer", "error": "text"}
        return nanoarrow.struct({name: _TYPES[kind] for name, kind in kinds.items()})


def _places(lines: Sequence[int], refused: Sequence[Refused]) -> list[int]:
    """Where good rows, and after them the refused ones, stand in the input's order."""
    numbers = [*lines, *(row.line for row in refused)]
    return sorted(range(len(numbers)), key=numbers.__getitem__)


def _shown(kind: Kind, column: Sequence[Any]) -> Sequence[Any]:
    if kind == "texts":
        return ["; ".join(texts) for texts in column]
    if kind == "boolean":
        return ["true" if value else "false" for value in column]
    return column


def _csv(rows: Any) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue().encode("utf-8")


def _array(kind: Kind, column: Sequence[Any]) -> CArray:
    there = None
    if None in column:
        there = np.packbits([value is not None for value in column], bitorder="little")
        column = [_EMPTY[kind] if value is None else value for value in column]
    if kind == "texts":
        inner = _array("text", [text for some in column for text in some])
        return nanoarrow.c_array_from_buffers(
            _TYPES[kind], len(column), [there, _ends(column)], children=[inner], move=True
        )
    if kind == "text":
        whole = "".join(column)
        data = whole.encode("utf-8")
        texts = column if whole.isascii() else [text.encode("utf-8") for text in column]
        buffers = [there, _ends(texts), data]
    elif kind == "boolean":
        buffers = [there, np.packbits(np.array(column, dtype=bool), bitorder="little")]
    else:
        buffers = [there, np.array(column, dtype=np.int64 if kind == "integer" else np.float64)]
    return nanoarrow.c_array_from_buffers(_TYPES[kind], len(column), buffers)


def _ends(parts: Sequence[Any]) -> np.ndarray[Any, Any]:
    ends = np.zeros(len(parts) + 1, dtype=np.int32)
    np.cumsum(np.fromiter(map(len, parts), np.int32, len(parts)), out=ends[1:])
    return ends
