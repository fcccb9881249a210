"""Bulk over HTTP: a body of rows in, answers row by row out, in memory that does not grow.

The body arrives whole first, on disk past a megabyte: a client that sends all before it reads would
else wait for an answer that waits for it. Then a piece of rows after the other is read, scored,
logged and sent, as fast as the client takes it.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Literal, Protocol, cast

import orjson
from starlette.requests import Request

from paydesk.bulk.answers import ArrowForm, Columns, CsvForm, Form, JsonLinesForm, Kind
from paydesk.bulk.arrow import Batches, check_types, open_stream
from paydesk.bulk.rows import FIELDS, REQUIRED, Block, Refused, take_models
from paydesk.bulk.scoring import SCORE_KINDS, Scored, score
from paydesk.bulk.text import Csv, JsonLines, heading, pieces
from paydesk.bulk.unpacking import BrokenOffError, Coding, Unpacked
from paydesk.entities.reader import Reader
from paydesk.entities.schema import Field as FormField
from paydesk.entities.schema import Reading
from paydesk.errors import PaydeskError
from paydesk.risk.columns import DataError, find_columns
from paydesk.risk.scorer import Scorer
from paydesk.storage.database import now_us
from paydesk.storage.identifiers import new_id
from paydesk.web.answers import Email
from paydesk.web.errors import (
    BadRequestError,
    BodyEncodingError,
    BodyTooLargeError,
    BodyTooSlowError,
    NotAcceptableError,
    SpoolError,
)
from paydesk.web.lanes import Lane, LaneBusyError

BULK_LIMIT = 64 * 1024 * 1024
UNPACKED_LIMIT = 8 * 1024**3
SILENCE_S = 15.0
JSON_LINES, CSV, ARROW = "application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream"

Rows = Literal["jsonl", "csv", "arrow"]
_PIECE = 64 * 1024
_MOST_BODIES = 16
_IN_MEMORY = 1024 * 1024
_FORMS: Mapping[str, Rows] = {
    JSON_LINES: "jsonl",
    "application/jsonl": "jsonl",
    "application/json": "jsonl",
    "text/plain": "jsonl",
    "application/x-www-form-urlencoded": "jsonl",  # What curl says unasked.
    "application/octet-stream": "jsonl",
    "": "jsonl",
    CSV: "csv",
    ARROW: "arrow",
}
_ANSWERS: Mapping[str, Rows] = {JSON_LINES: "jsonl", CSV: "csv", ARROW: "arrow"}
_CODINGS: Mapping[str, Coding] = {
    "": "identity",
    "identity": "identity",
    "gzip": "gzip",
    "x-gzip": "gzip",
    "zstd": "zstd",
}
_LOGGED: Mapping[str, Kind] = {**SCORE_KINDS, "decision_id": "text"}
_FORM_FIELDS: tuple[FormField, ...] = ("amount", "currency", "accountA", "accountB")
_READ: Mapping[str, Kind] = {
    **dict.fromkeys(_FORM_FIELDS, "text"),
    **{f"confidence_{name}": "number" for name in _FORM_FIELDS},
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a body is to be read, and its answer written."""

    rows: Rows
    coding: Coding
    answer: Rows

    @property
    def media(self) -> str:
        """The answer's media type."""
        return next(media for media, rows in _ANSWERS.items() if rows == self.answer)


def wanted(request: Request) -> Wanted:
    """What the headers say. Raises BodyEncodingError or NotAcceptableError."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    rows = _FORMS.get(kind.strip().lower())
    if rows is None:
        message = f"Rows come as {JSON_LINES}, {CSV} or {ARROW}, not as {kind.strip()[:60]!r}."
        raise BodyEncodingError(message)
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    if charset not in {"", "utf-8", "utf8", "us-ascii", "ascii"}:
        raise BodyEncodingError(f"The charset {charset[:40]!r} is not read here; send UTF-8.")
    coding = _CODINGS.get(request.headers.get("content-encoding", "").strip().lower())
    if coding is None:
        raise BodyEncodingError("The Content-Encoding is gzip or zstd here, or none.")
    return Wanted(rows, coding, _accepted(request.headers.get("accept", "*/*")))


def _accepted(header: str) -> Rows:
    best: tuple[float, Rows] | None = None
    for part in header.split(","):
        media, _, parameters = part.partition(";")
        media = media.strip().lower()
        try:
            weight = float(parameters.replace(" ", "").partition("q=")[2].partition(";")[0] or 1)
        except ValueError:
            weight = 0.0
        found = _ANSWERS.get(media)
        if media in {"*/*", "application/*", "application/jsonl", "application/json", ""}:
            found = "jsonl"
        elif media == "text/*":
            found = "csv"
        if found is not None and weight > 0 and (best is None or weight > best[0]):
            best = weight, found
    if best is None:
        raise NotAcceptableError(f"Answers are {JSON_LINES}, {CSV} or {ARROW}; accept one of them.")
    return best[1]


class _Log(Protocol):
    async def append_all(self, rows: Sequence[Mapping[str, object]]) -> object:
        """Returns when all are on disk."""


class Scoring:
    """What /score/bulk does with a block of rows."""

    rows_at_once = 1_000
    fields: Sequence[str] = FIELDS
    required: Sequence[str] = REQUIRED

    def __init__(
        self, scorer: Scorer, log: _Log, counted: Callable[[str, float], None], form: Rows
    ) -> None:
        self._scorer = scorer
        self._log = log
        self._counted = counted
        self.form = _form(form, _LOGGED, _LOGGED)

    async def answer(self, block: Block, lane: Lane) -> bytes:
        """The decisions, once they are on disk."""
        scored, ids, rows = await lane.run(self._scored, block)
        if rows:
            await self._log.append_all(rows)
        return await lane.run(self._written, scored, ids)

    def _scored(self, block: Block) -> tuple[Scored, list[str], list[dict[str, object]]]:
        scored = score(self._scorer, block)
        ids = [new_id() for _ in scored.rows.lines]
        return scored, ids, logged(scored, ids, now_us())

    def _written(self, scored: Scored, ids: list[str]) -> bytes:
        levels, found = scored.columns["risk_level"], scored.columns["fraud_probability"]
        for level, probability in zip(levels, found, strict=True):
            self._counted(level, probability)
        columns: Columns = {**scored.columns, "decision_id": ids}
        return self.form.part(scored.rows.lines, columns, scored.rows.refused)


def logged(scored: Scored, ids: list[str], at_us: int) -> list[dict[str, object]]:
    """The rows of the decision log."""
    taken, columns = scored.rows.columns, scored.columns
    names = ("category", "hour", "store", "customer_id")
    rows = zip(
        ids,
        columns["tx_id"],
        taken["amount"].tolist(),
        *(taken[name].tolist() for name in names),
        scored.verdicts.levels.tolist(),
        columns["score"],
        columns["fraud"],
        columns["fraud_probability"],
        columns["triggered_rules"],
        columns["reasons"],
        strict=True,
    )
    return [
        {
            "decision_id": decision_id,
            "recorded_at_us": at_us,
            "tx_id": tx_id,
            "amount": repr(amount),
            "category": category,
            "hour": hour,
            "store": store,
            "customer_id": customer_id,
            "level": level,
            "points": points,
            "fraud": fraud,
            "fraud_probability": probability,
            "triggered_rules": orjson.dumps(triggered).decode() if triggered else "[]",
            "reasons": orjson.dumps(reasons).decode() if reasons else "[]",
            "model": columns["model"][0],
        }
        for (
            decision_id,
            tx_id,
            amount,
            category,
            hour,
            store,
            customer_id,
            level,
            points,
            fraud,
            probability,
            triggered,
            reasons,
        ) in rows
    ]


class MailReading:
    """What /predict/bulk does with a block of rows."""

    rows_at_once = 50
    fields: Sequence[str] = ("email",)
    required: Sequence[str] = ("email",)

    def __init__(self, reader: Reader, form: Rows) -> None:
        self._reader = reader
        self._tabular = form != "jsonl"
        self.form = _form(form, dict.fromkeys(Reading.model_fields, "text"), _READ)

    async def answer(self, block: Block, lane: Lane) -> bytes:
        """The payment forms."""
        return await lane.run(self._read, block)

    def _read(self, block: Block) -> bytes:
        lines, emails, refused = take_models(block, Email)
        readings = [self._reader.read(email.email) for email in emails]
        if not self._tabular:
            dumped = [reading.model_dump() for reading in readings]
            columns: Columns = {
                name: [row[name] for row in dumped] for name in Reading.model_fields
            }
            return self.form.part(lines, columns, refused)
        columns = {
            name: [getattr(reading, name) for reading in readings] for name in _FORM_FIELDS
        } | {
            f"confidence_{name}": [getattr(reading.confidence, name) for reading in readings]
            for name in _FORM_FIELDS
        }
        return self.form.part(lines, columns, refused)


Work = Scoring | MailReading


def _form(form: Rows, lines: Mapping[str, Kind], table: Mapping[str, Kind]) -> Form:
    if form == "jsonl":
        return JsonLinesForm(lines)
    if form == "csv":
        return CsvForm(table, with_refused=True)
    return ArrowForm(table, with_refused=True)


class Bulk:
    """The bodies that a worker is busy with: so many at once, and one thread for their rows."""

    def __init__(self, home: Path) -> None:
        """Bodies are kept in `home` until they are answered."""
        self._home = home
        self._lane = Lane("bulk", threads=1, waiting=_MOST_BODIES, deadline_s=60)
        self._under_way = 0

    async def answer(self, request: Request, asked: Wanted, work: Work) -> AsyncIterator[bytes]:
        """Takes the body, and gives the answer part by part. Raises LaneBusyError at once."""
        if self._under_way >= _MOST_BODIES:
            message = f"Paydesk is busy: {_MOST_BODIES} bodies of rows are under way."
            raise LaneBusyError(f"{message} Send it again in some seconds.")
        self._under_way += 1
        try:
            body = await receive(request, self._home, self._lane)
            async for part in answers(body, asked, work, self._lane):
                yield part
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Waits for the rows that are being worked on."""
        self._lane.close()


async def receive(request: Request, home: Path, lane: Lane) -> BinaryIO:
    """The body, whole, in a file that has no name.

    Raises BodyTooLargeError, BodyTooSlowError, BadRequestError or SpoolError.
    """
    too_large = BodyTooLargeError(
        f"The body is longer than {BULK_LIMIT:,} bytes, the most that this route takes: compress "
        "it, or send it in parts."
    )
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > BULK_LIMIT:
        raise too_large
    file = cast(BinaryIO, tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(home)))  # noqa: SIM115
    try:
        size, parts, kept, more = 0, list[bytes](), 0, True
        while more:
            async with asyncio.timeout(SILENCE_S):
                message = await request.receive()
            if message["type"] == "http.disconnect":
                raise BadRequestError("The connection closed before the body was complete.")
            part, more = message.get("body", b""), message.get("more_body", False)
            parts.append(part)
            size, kept = size + len(part), kept + len(part)
            if size > BULK_LIMIT:
                raise too_large
            if kept >= _IN_MEMORY or not more:
                await lane.run(file.write, b"".join(parts))
                parts, kept = [], 0
        file.seek(0)
    except TimeoutError as error:
        file.close()
        why = f"Nothing of the body came for {SILENCE_S:.0f} s; send it faster."
        raise BodyTooSlowError(why) from error
    except OSError as error:
        file.close()
        why = f"The body could not be kept ({error.strerror}). Send it again later."
        raise SpoolError(why) from error
    except BaseException:
        file.close()
        raise
    return file


async def answers(body: BinaryIO, asked: Wanted, work: Work, lane: Lane) -> AsyncIterator[bytes]:
    """The answer, part by part; the first brings what comes before all rows.

    What fails before that is raised: BadRequestError, or what the work raises. What fails later
    becomes a last row that says so.
    """
    try:
        blocks = await lane.run(_opened, body, asked, work)
        begun, line = False, 1
        while True:
            try:
                block = await lane.run(next, blocks, None)
                if block is None:
                    break
                part = await work.answer(block, lane)
            except PaydeskError as error:
                if not begun and not isinstance(error, BrokenOffError):
                    raise
                why = f"From this row on nothing was done: {error}"
                if isinstance(error, BrokenOffError):
                    why = str(error)
                part, block = (
                    work.form.part((), dict.fromkeys(work.form.kinds, ()), [Refused(line, why)]),
                    None,
                )
            yield part if begun else work.form.head() + part
            begun = True
            if block is None:
                break
            line = max([line - 1, *block.lines[-1:], *(row.line for row in block.refused)]) + 1
        if not begun:
            yield work.form.head()
        yield work.form.end()
    finally:
        body.close()


def _opened(body: BinaryIO, asked: Wanted, work: Work) -> Iterator[Block]:
    """The body's rows in blocks. Raises BadRequestError, now or with the first of them."""
    try:
        blocks = _blocks(body, asked, work)
        first = next(blocks, None)
    except DataError as error:
        why = str(error).partition(" Name it with --")[0]
        raise BadRequestError(why) from error
    except BrokenOffError as error:
        return iter((Block((), {}, (Refused(1, str(error)),)),))
    return iter(()) if first is None else chain((first,), blocks)


def _blocks(body: BinaryIO, asked: Wanted, work: Work) -> Iterator[Block]:
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
                yield from _parts(layout.block(first, batch), work.rows_at_once)
                first += batch.rows

        return of_batches()
    cut = pieces(source, _PIECE, quoted=asked.rows == "csv")
    if asked.rows == "jsonl":
        lines = JsonLines({name: name for name in work.fields})
        return (part for piece in cut for part in _parts(lines.block(piece), work.rows_at_once))
    first = next(cut, None)
    if first is None:
        raise DataError("There is no heading: the first line of CSV names the columns.")
    has, rest = heading(first)
    records = Csv({ours: has.index(theirs) for ours, theirs in find(has).items()}, len(has))

    def of_records() -> Iterator[Block]:
        yield from _parts(records.block(rest), work.rows_at_once)
        for piece in cut:
            yield from _parts(records.block(piece), work.rows_at_once)

    return of_records()


def _parts(block: Block, at_once: int) -> Iterator[Block]:
    """A block in parts of so many rows; refused ones go with the part that they stand in."""
    refused = sorted(block.refused, key=lambda row: row.line)
    rows = len(block.lines)
    for begin in range(0, max(rows, 1), at_once):
        end = begin + at_once
        here = refused
        if end < rows:
            here = [row for row in refused if row.line < block.lines[end]]
            refused = refused[len(here) :]
        values = {name: column[begin:end] for name, column in block.values.items()}
        yield Block(block.lines[begin:end], values, here)
