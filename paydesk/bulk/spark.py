"""Scores a Spark DataFrame: the same scorer on every executor, over Arrow batches.

    from paydesk.bulk.spark import score
    scored = score(spark.read.parquet("transactions/"), "models/risk")

Needs pyspark and pyarrow on the driver and the executors; see docs/bulk.md.
"""

import io
import tempfile
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DoubleType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from paydesk.bulk.arrow import Batches, check_types, open_stream
from paydesk.bulk.rows import OPTIONAL, REQUIRED, Block, Refused
from paydesk.bulk.scoring import SCORE_KINDS
from paydesk.bulk.scoring import score as score_block
from paydesk.risk.columns import DataError, find_columns
from paydesk.risk.forest import DESCRIPTION, GRAPH, Forest
from paydesk.risk.rules import SHIPPED, RuleBook
from paydesk.risk.scorer import Scorer

if TYPE_CHECKING:
    from pyspark import Broadcast
    from pyspark.sql import DataFrame, SparkSession

_RULES = "rules.toml"
_ADDED = tuple(name for name in SCORE_KINDS if name != "tx_id")
_SPARK = {
    "text": StringType(),
    "integer": LongType(),
    "number": DoubleType(),
    "boolean": BooleanType(),
    "texts": ArrayType(StringType()),
}
_ARROW = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "texts": pa.list_(pa.string()),
}


def score(
    df: "DataFrame",
    model: str | Path,
    *,
    name: str = "risk",
    columns: Mapping[str, str] | None = None,
    rules: Path | None = None,
) -> "DataFrame":
    """`df` with the columns of a decision added, and `error` for a row that /score would refuse.

    `model` is the folder of the serving form, which goes to every executor once, with the rules:
    the shipped ones where none are given. `name` is what the column `model` says. `columns` maps
    Paydesk's names to those of `df`. A refused row has its `error` and nulls. Raises DataError
    where a column is missing, of another type, or has the name of one that is added.
    """
    taken = find_columns(
        "The DataFrame", df.columns, columns or {}, required=REQUIRED, optional=OPTIONAL
    )
    for added in (*_ADDED, "error"):
        if added in df.columns:
            raise DataError(f"The DataFrame has a column {added!r} already: rename or drop it.")
    sent = send(df.sparkSession, model, rules)
    schema = StructType(
        [
            *df.schema.fields,
            *(StructField(added, _SPARK[SCORE_KINDS[added]]) for added in _ADDED),
            StructField("error", StringType()),
        ]
    )

    def score_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = scorer_of(sent, name)
        for batch in batches:
            yield _scored(scorer, batch, taken)

    return df.mapInArrow(score_batches, schema)  # type: ignore[arg-type]  # any iterator does


def send(
    spark: "SparkSession", model: str | Path, rules: Path | None
) -> "Broadcast[dict[str, bytes]]":
    """Sends model and rules, the shipped ones where none are given, to every executor, once."""
    # Where the package is a zip, the rules that it ships are no file.
    book = resources.files("paydesk.risk").joinpath(SHIPPED.name) if rules is None else rules
    files = {part: (Path(model) / part).read_bytes() for part in (GRAPH, DESCRIPTION)}
    return spark.sparkContext.broadcast({**files, _RULES: book.read_bytes()})


_loaded: dict[int, Scorer] = {}


def scorer_of(sent: "Broadcast[dict[str, bytes]]", name: str) -> Scorer:
    """The scorer of this process, which serves many tasks: loaded by the first of them."""
    files = sent.value
    key = hash((name, *files.values()))
    if key not in _loaded:
        with tempfile.TemporaryDirectory() as folder:
            for part, content in files.items():
                (Path(folder) / part).write_bytes(content)
            _loaded[key] = Scorer(
                Forest.load(Path(folder)), RuleBook.read(Path(folder) / _RULES), name
            )
    return _loaded[key]


def _scored(scorer: Scorer, batch: pa.RecordBatch, taken: Mapping[str, str]) -> pa.RecordBatch:
    scored = score_block(scorer, _block(batch, taken))
    places = [line - 1 for line in scored.rows.lines]
    arrays = list(batch.columns)
    names = list(batch.schema.names)
    for added in _ADDED:
        column: list[Any] = [None] * batch.num_rows
        for place, value in zip(places, scored.columns[added], strict=True):
            column[place] = value
        arrays.append(pa.array(column, _ARROW[SCORE_KINDS[added]]))
        names.append(added)
    arrays.append(pa.array(_errors(batch.num_rows, scored.rows.refused), pa.string()))
    return pa.RecordBatch.from_arrays(arrays, [*names, "error"])


def _errors(rows: int, refused: list[Refused]) -> list[str | None]:
    errors: list[str | None] = [None] * rows
    for row in refused:
        errors[row.line - 1] = row.error
    return errors


def _block(batch: pa.RecordBatch, taken: Mapping[str, str]) -> Block:
    table = pa.Table.from_batches([batch]).select(list(taken.values()))
    written = io.BytesIO()
    with pa.ipc.new_stream(written, table.schema) as writer:
        writer.write_table(table)
    written.seek(0)
    columns, batches = open_stream(written)
    positions = {ours: n for n, ours in enumerate(taken)}
    check_types("The DataFrame", columns, positions)
    found = next(batches, None)
    return Block((), {}) if found is None else Batches(positions).block(1, found)
