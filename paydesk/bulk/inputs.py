"""Files, folders and standard input as pieces of rows, each form with its way of being read."""

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from typing_extensions import Buffer

from paydesk.bulk.parquet import open_parquet
from paydesk.bulk.rows import OPTIONAL, REQUIRED, Block
from paydesk.bulk.text import Csv, JsonLines, Piece, heading, pieces
from paydesk.bulk.unpacking import Unpacked, coding_of
from paydesk.risk.columns import DataError, find_columns

STANDARD_INPUT = "-"
PIECE = 1024 * 1024
_FORMS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
_PACKED = {".gz", ".zst"}
_KNOWN = "Paydesk reads .csv, .jsonl (each also .gz or .zst) and .parquet files."


class Layout(Protocol):
    """How the rows of a piece are read."""

    def block(self, piece: Piece) -> Block:
        """The rows of a piece."""


@dataclass(frozen=True, slots=True)
class Input:
    """A file to read; `size` is None where nobody knows it."""

    name: str
    form: str
    size: int | None
    changed_ns: int = 0


class Opened:
    """An input that is being read: its layout, its pieces, and the bytes read so far."""

    def __init__(self, source: Input, columns: Mapping[str, str]) -> None:
        """Raises DataError where the input has not the columns."""
        self._file = _Counted(_open(source.name))
        form = source.form
        if form == "any":
            form = _sniffed(self._file.peek(4096))
        if form == "parquet":
            self.layout, self.pieces = _parquet(source.name, self._file, columns)
            return
        unpacked = Unpacked(self._file, coding_of(self._file.peek(4)))
        quoted = form == "csv"
        parts = pieces(unpacked, PIECE, quoted=quoted)
        try:
            first = next(parts, Piece(1, b""))
        except DataError as error:
            raise DataError(f"{source.name}: {error}") from error
        if quoted:
            self.layout, first = csv_layout(source.name, first, columns)
        else:
            self.layout = JsonLines(
                {name: columns.get(name, name) for name in (*REQUIRED, *OPTIONAL)}
            )
        self.pieces = _after(first, parts)

    layout: Layout
    pieces: Iterator[Piece]

    @property
    def read(self) -> int:
        """Bytes of the file that have been read."""
        return self._file.count

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def csv_layout(place: str, first: Piece, columns: Mapping[str, str]) -> tuple[Csv, Piece]:
    """How a CSV input is read whose first piece this is, and what of it comes after the heading.

    Raises DataError, which begins with `place`.
    """
    try:
        has, rest = heading(first)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    names = find_columns(place, has, columns, required=REQUIRED, optional=OPTIONAL)
    return Csv({ours: has.index(theirs) for ours, theirs in names.items()}, len(has)), rest


def find_inputs(names: Sequence[str], leave_out: Path) -> list[Input]:
    """The inputs that files, folders and `-` stand for; not what is at `leave_out`.

    Raises DataError for one that is not there, or is of no form that Paydesk reads.
    """
    found: list[Input] = []
    for name in names:
        path = Path(name)
        if name == STANDARD_INPUT:
            found.append(Input("standard input", "any", None))
        elif path.is_dir():
            below = [
                each
                for each in sorted(path.rglob("*"))
                if each.is_file() and _form(each) and not str(each).startswith(str(leave_out))
            ]
            if not below:
                raise DataError(f"{path}: there is no file to score in this folder. {_KNOWN}")
            found += [_input(each) for each in below]
        else:
            found.append(_input(path))
    return found


def _input(path: Path) -> Input:
    form = _form(path)
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from error
    if form is None:
        raise DataError(f"{path}: {_KNOWN}")
    return Input(str(path), form, stat.st_size, stat.st_mtime_ns)


def _form(path: Path) -> str | None:
    name = path.with_suffix("") if path.suffix.lower() in _PACKED else path
    form = _FORMS.get(name.suffix.lower())
    return None if form == "parquet" and name != path else form


def _sniffed(start: bytes) -> str:
    if start.startswith(b"PAR1"):
        raise DataError("standard input: Parquet is read from a file; give its name.")
    if coding_of(start) != "identity":
        raise DataError("standard input: unpack it first, like `zcat tx.csv.gz | paydesk score -`.")
    return "jsonl" if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{") else "csv"


def _parquet(
    place: str, file: "_Counted", columns: Mapping[str, str]
) -> tuple[Layout, Iterator[Piece]]:
    return open_parquet(place, file, columns)


def _open(name: str) -> BinaryIO:
    if name == "standard input":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise DataError(f"{name}: cannot be read: {error.strerror}.") from error


def _after(first: Piece, rest: Iterator[Piece]) -> Iterator[Piece]:
    yield first
    yield from rest


class _Counted(io.BufferedReader):
    """A file that counts the bytes that were read."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(_Raw(file), PIECE)

    @property
    def count(self) -> int:
        """Bytes read from below."""
        raw = self.raw
        return raw.count if isinstance(raw, _Raw) else 0


class _Raw(io.RawIOBase):
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Buffer, /) -> int:
        room = memoryview(buffer)
        read = getattr(self._file, "read1", self._file.read)(len(room))
        room[: len(read)] = read
        self.count += len(read)
        return len(read)

    def close(self) -> None:
        if self._file is not sys.stdin.buffer:
            self._file.close()
        super().close()
