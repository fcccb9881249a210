"""Parquet files, by pyarrow, which the image has not: rows in, and an Arrow stream made a file."""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from paydesk.bulk.arrow import MESSAGE_LIMIT, Batches, check_types, open_stream
from paydesk.bulk.rows import OPTIONAL, REQUIRED, Block
from paydesk.bulk.text import Piece
from paydesk.risk.columns import DataError, find_columns

if TYPE_CHECKING:
    import pyarrow

_ROWS = 32_768
_ROWS_A_GROUP = 262_144


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """Rows of a Parquet file; a piece is an Arrow stream of them, of the columns `names`."""

    names: Mapping[str, str]

    def block(self, piece: Piece) -> Block:
        """The rows of a piece, numbered from 1."""
        columns, batches = open_stream(io.BytesIO(piece.data))
        has = [column.name for column in columns]
        positions = {ours: has.index(theirs) for ours, theirs in self.names.items()}
        return Batches(positions).block(piece.first, next(batches))


def open_parquet(
    place: str, file: BinaryIO, columns: Mapping[str, str]
) -> tuple[ParquetRows, Iterator[Piece]]:
    """How a Parquet file is read, and its rows in pieces. Raises DataError."""
    parquet = _pyarrow().parquet
    error_type = _pyarrow().lib.ArrowException
    try:
        opened = parquet.ParquetFile(file)
        schema = opened.schema_arrow
    except (error_type, OSError) as error:
        message = f"{place}: this is no Parquet file: {str(error).splitlines()[0]}"
        raise DataError(message) from error
    names = find_columns(place, schema.names, columns, required=REQUIRED, optional=OPTIONAL)
    taken = _pyarrow().schema([schema.field(theirs) for theirs in names.values()])
    shown, _ = open_stream(io.BytesIO(_as_stream(taken.empty_table())))
    check_types(place, shown, {ours: n for n, ours in enumerate(names)})
    return ParquetRows(names), _pieces(place, opened, list(names.values()))


def write_parquet(stream: Path, out: Path) -> None:
    """Makes a Parquet file of the Arrow stream in the file `stream`, in bounded memory."""
    arrow = _pyarrow()
    with arrow.OSFile(str(stream)) as source:
        batches = arrow.ipc.open_stream(source)
        with arrow.parquet.ParquetWriter(
            str(out), batches.schema, compression="zstd", compression_level=1
        ) as writer:
            gathered: list[pyarrow.RecordBatch] = []
            for batch in batches:
                gathered.append(batch)
                if sum(each.num_rows for each in gathered) >= _ROWS_A_GROUP:
                    writer.write_table(arrow.Table.from_batches(gathered))
                    gathered = []
            if gathered:
                writer.write_table(arrow.Table.from_batches(gathered))


def _pieces(place: str, opened: "pyarrow.parquet.ParquetFile", names: list[str]) -> Iterator[Piece]:
    first = 1
    try:
        for batch in _batches(opened, names):
            # Long texts: no piece is longer than what the reader of streams takes.
            step = max(1, batch.num_rows * MESSAGE_LIMIT // 2 // max(batch.nbytes, 1))
            for begin in range(0, batch.num_rows, step):
                part = batch.slice(begin, step)
                table = _pyarrow().Table.from_batches([part])
                yield Piece(first, _as_stream(table))
                first += part.num_rows
    except (_pyarrow().lib.ArrowException, OSError) as error:
        why = str(error).splitlines()[0]
        raise DataError(f"{place}: the file is damaged from row {first} on: {why}") from error


def _batches(
    opened: "pyarrow.parquet.ParquetFile", names: list[str]
) -> Iterator["pyarrow.RecordBatch"]:
    # A group at a time: asked for all groups at once, pyarrow keeps something of each (200 MB of
    # ten million rows).
    for group in range(opened.num_row_groups):
        yield from opened.iter_batches(_ROWS, row_groups=[group], columns=names)


def _as_stream(table: "pyarrow.Table") -> bytes:
    written = io.BytesIO()
    with _pyarrow().ipc.new_stream(written, table.schema) as writer:
        writer.write_table(table)
    return written.getvalue()


def _pyarrow() -> Any:
    try:
        import pyarrow  # noqa: PLC0415
        import pyarrow.ipc  # noqa: PLC0415
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as error:
        message = (
            "Parquet needs pyarrow, which is not installed here (the image goes without): install "
            "it beside Paydesk, or give CSV or JSON Lines."
        )
        raise DataError(message) from error
    return pyarrow
