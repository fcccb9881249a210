"""What a body of rows is worked on as: blocks, and the answer to each, ready to be sent or kept."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, BinaryIO

from paydesk.bulk.answers import ArrowForm, Columns, CsvForm, Form, JsonLinesForm
from paydesk.bulk.answers import Kind as Column
from paydesk.bulk.arrow import Batches, check_types, open_stream
from paydesk.bulk.log_rows import log_rows
from paydesk.bulk.rows import FIELDS, REQUIRED, Block, Refused, take_models
from paydesk.bulk.scoring import SCORE_KINDS, score
from paydesk.bulk.text import Csv, JsonLines, Piece, heading, pieces
from paydesk.bulk.unpacking import BrokenOffError, Unpacked
from paydesk.entities.reader import Reader
from paydesk.entities.schema import Field as FormField
from paydesk.entities.schema import Reading
from paydesk.risk.columns import DataError, find_columns
from paydesk.risk.scorer import Scorer
from paydesk.storage.database import now_us
from paydesk.storage.identifiers import new_ids
from paydesk.storage.jobs import Kind
from paydesk.web.answers import MOST_CHARACTERS, Email
from paydesk.web.errors import BadRequestError
from paydesk.web.row_forms import Rows, Wanted

UNPACKED_LIMIT = 8 * 1024**3
JOB_ROWS = 20_000_000

_PIECE = 64 * 1024
_TEXT_AT_ONCE = MOST_CHARACTERS  # An e-mail of this length alone may take some seconds.
_LOGGED: Mapping[str, Column] = {**SCORE_KINDS, "decision_id": "text"}
_FORM_FIELDS: tuple[FormField, ...] = ("amount", "currency", "accountA", "accountB")
_READ: Mapping[str, Column] = {
    **dict.fromkeys(_FORM_FIELDS, "text"),
    **{f"confidence_{name}": "number" for name in _FORM_FIELDS},
}


Counted = Callable[[Sequence[tuple[str, float]]], None]


@dataclass(frozen=True, slots=True)
class Answered:
    """What is answered to a block: `part` of the answer, once `logged` is in the decision log."""

    part: bytes
    rows: int
    refused: int
    logged: Sequence[Mapping[str, Any]] = ()
    verdicts: Sequence[tuple[str, float]] = ()


class Scoring:
    """Blocks of transactions to decisions."""

    rows_at_once = 1_000
    text: str | None = None
    late = " Of the next thousand rows, decisions may be in the log all the same."
    fields: Sequence[str] = FIELDS
    required: Sequence[str] = REQUIRED

    def __init__(self, scorer: Scorer, counted: Counted, form: Rows) -> None:
        """`counted` is told of decisions that are on disk."""
        self._scorer = scorer
        self._counted = counted
        self.form = _form(form, _LOGGED, _LOGGED)

    def answer(self, block: Block) -> Answered:
        """The decisions, none of which is on disk yet."""
        scored = score(self._scorer, block)
        ids = new_ids(len(scored.rows.lines))
        columns: Columns = {**scored.columns, "decision_id": ids}
        return Answered(
            self.form.part(scored.rows.lines, columns, scored.rows.refused),
            len(ids) + len(scored.rows.refused),
            len(scored.rows.refused),
            log_rows(scored, ids, now_us()),
            list(zip(columns["risk_level"], columns["fraud_probability"], strict=True)),
        )

    def done(self, answered: Answered) -> None:
        """Counts decisions that are on disk."""
        self._counted(answered.verdicts)


class MailReading:
    """Blocks of e-mails to payment forms."""

    rows_at_once = 50
    text: str | None = "email"
    late = ""
    fields: Sequence[str] = ("email",)
    required: Sequence[str] = ("email",)

    def __init__(self, reader: Reader, form: Rows) -> None:
        self._reader = reader
        self._tabular = form != "jsonl"
        self.form = _form(form, dict.fromkeys(Reading.model_fields, "text"), _READ)

    def answer(self, block: Block) -> Answered:
        """The payment forms."""
        lines, emails, refused = take_models(block, Email)
        columns = self._columns([self._reader.read(email.email) for email in emails])
        part = self.form.part(lines, columns, refused)
        return Answered(part, len(lines) + len(refused), len(refused))

    def done(self, answered: Answered) -> None:
        """Nothing is counted of e-mails."""

    def _columns(self, readings: Sequence[Reading]) -> Columns:
        if not self._tabular:
            dumped = [reading.model_dump() for reading in readings]
            return {name: [row[name] for row in dumped] for name in Reading.model_fields}
        return {name: [getattr(reading, name) for reading in readings] for name in _FORM_FIELDS} | {
            f"confidence_{name}": [getattr(reading.confidence, name) for reading in readings]
            for name in _FORM_FIELDS
        }


Work = Scoring | MailReading


@dataclass(frozen=True, slots=True)
class Works:
    """What is done with rows of either kind; `counted` is told of decisions that are on disk."""

    scorer: Scorer
    reader: Reader
    counted: Counted

    def work(self, kind: Kind, answer: Rows) -> Work:
        """What is done with a body whose answer has this form."""
        if kind == "score":
            return Scoring(self.scorer, self.counted, answer)
        return MailReading(self.reader, answer)


def last_row(work: Work, line: int, why: str) -> bytes:
    """The row that says why none comes after it."""
    return work.form.part((), dict.fromkeys(work.form.kinds, ()), [Refused(line, why)])


def opened(body: BinaryIO, asked: Wanted, work: Work, most_rows: int) -> Iterator[Block]:
    """The body's rows in blocks. Raises BadRequestError, now or with the first of them.

    Later ones raise BrokenOffError, or the DataError of a body that turns out to be none.
    """
    try:
        blocks = _blocks(body, asked, work, most_rows)
        first = next(blocks, None)
    except DataError as error:
        why = str(error).partition(" Name it with --")[0]
        raise BadRequestError(why) from error
    except BrokenOffError as error:
        return iter((Block((), {}, (Refused(1, str(error)),)),))
    return iter(()) if first is None else chain((first,), blocks)


def _form(form: Rows, lines: Mapping[str, Column], table: Mapping[str, Column]) -> Form:
    if form == "jsonl":
        return JsonLinesForm(lines)
    if form == "csv":
        return CsvForm(table, with_refused=True)
    return ArrowForm(table, with_refused=True)


def _blocks(body: BinaryIO, asked: Wanted, work: Work, most_rows: int) -> Iterator[Block]:
    source = Unpacked(body, asked.coding, UNPACKED_LIMIT)
    optional = [name for name in work.fields if name not in work.required]
    find = partial(find_columns, "The body", columns={}, required=work.required, optional=optional)
    if asked.rows == "arrow":
        columns, batches = open_stream(source)
        has = [column.name for column in columns]
        positions = {ours: has.index(theirs) for ours, theirs in find(has).items()}
        check_types("The body", columns, positions)
        layout = Batches(positions)

        def of_batches() -> Iterator[Block]:
            first = 1
            for batch in batches:
                _refuse_past(most_rows, first)
                yield from _parts(layout.block(first, batch), work)
                first += batch.rows

        return of_batches()
    cut = _up_to(most_rows, pieces(source, _PIECE, quoted=asked.rows == "csv"))
    if asked.rows == "jsonl":
        lines = JsonLines({name: name for name in work.fields})
        return (part for piece in cut for part in _parts(lines.block(piece), work))
    first = next(cut, None)
    if first is None:
        raise DataError("There is no heading: the first line of CSV names the columns.")
    has, rest = heading(first)
    records = Csv({ours: has.index(theirs) for ours, theirs in find(has).items()}, len(has))

    def of_records() -> Iterator[Block]:
        yield from _parts(records.block(rest), work)
        for piece in cut:
            yield from _parts(records.block(piece), work)

    return of_records()


def _up_to(most_rows: int, cut: Iterator[Piece]) -> Iterator[Piece]:
    for piece in cut:
        _refuse_past(most_rows, piece.first)
        yield piece


def _refuse_past(most_rows: int, first: int) -> None:
    if first > most_rows:
        message = f"A body has up to {most_rows:,} rows here: send the others in a further one"
        raise BrokenOffError(f"{message}, or as a job, which may have {JOB_ROWS:,}.")


def _parts(block: Block, work: Work) -> Iterator[Block]:
    """A block in parts of bounded work; refused rows go with the part that they stand in."""
    refused = sorted(block.refused, key=lambda row: row.line)
    rows, begin = len(block.lines), 0
    for end in _ends(block, work):
        here = refused
        if end < rows:
            here = [row for row in refused if row.line < block.lines[end]]
            refused = refused[len(here) :]
        values = {name: column[begin:end] for name, column in block.values.items()}
        yield Block(block.lines[begin:end], values, here)
        begin = end


def _ends(block: Block, work: Work) -> Iterator[int]:
    """Before which rows a part ends: after so many, or where their texts get long together."""
    texts = block.values.get(work.text, ()) if work.text else ()
    rows, text = 0, 0
    for n, value in enumerate(texts):
        size = len(value) if isinstance(value, str) else 0
        if rows and (rows == work.rows_at_once or text + size > _TEXT_AT_ONCE):
            yield n
            rows = text = 0
        rows, text = rows + 1, text + size
    if not texts:
        yield from range(work.rows_at_once, len(block.lines), work.rows_at_once)
    yield len(block.lines)
