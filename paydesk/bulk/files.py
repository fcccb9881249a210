"""Files of transactions to one file of decisions: all cores, bounded memory, the input's order."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import orjson

from paydesk.bulk.answers import ArrowForm, Columns, CsvForm, Form, JsonLinesForm, Kind
from paydesk.bulk.inputs import Input, Layout, Opened
from paydesk.bulk.scoring import SCORE_KINDS, score
from paydesk.bulk.text import Piece
from paydesk.bulk.unfinished import OutputError, Totals, Unfinished
from paydesk.errors import PaydeskError
from paydesk.risk.forest import Forest
from paydesk.risk.rules import RuleBook
from paydesk.risk.scorer import Scorer

KINDS: Mapping[str, Kind] = {"file": "text", "line": "integer", **SCORE_KINDS}
_FORMS: Mapping[str, Callable[[], Form]] = {
    ".csv": lambda: CsvForm(KINDS, with_refused=False),
    ".jsonl": lambda: JsonLinesForm(KINDS),
    ".parquet": lambda: ArrowForm(KINDS, with_refused=False),  # made Parquet at the end
}
_SMALL = 8 * 1024 * 1024  # bytes, for which no process is started


@dataclass(frozen=True, slots=True)
class Model:
    """What every process makes its own scorer of."""

    folder: Path
    name: str
    rules: Path

    def scorer(self) -> Scorer:
        """The scorer. Raises ServingFormError or RulesError."""
        return Scorer(Forest.load(self.folder), RuleBook.read(self.rules), self.name)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is: bytes read of all, where that is known, and rows."""

    read: int
    size: int | None
    rows: int


def score_files(
    inputs: Sequence[Input],
    out: Path,
    columns: Mapping[str, str],
    model: Model,
    *,
    resume: bool = False,
    overwrite: bool = False,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Totals:
    """Scores `inputs` into `out`, whose suffix says its form, and the refused rows beside it.

    The file is there when it is whole, and not before. Interrupted (KeyboardInterrupt) or failed,
    the run leaves what it has for `resume`. Raises DataError, OutputError, ServingFormError,
    RulesError.
    """
    form = _FORMS.get(out.suffix.lower())
    if form is None:
        raise OutputError(f"{out}: a result is a .csv, .jsonl or .parquet file.")
    if resume and any(source.size is None for source in inputs):
        raise OutputError("Standard input cannot be read again, so there is no --resume with it.")
    for source in inputs:
        if source.size is not None:
            Opened(source, columns).close()  # What is wrong with the last is said before the first.
    meant = {
        "inputs": [[source.name, source.size, source.changed_ns] for source in inputs],
        "columns": dict(columns),
        "model": model.name,
        "rules": str(model.rules),
    }
    unfinished = Unfinished(out, meant, resume=resume, overwrite=overwrite)
    try:
        if unfinished.is_new:
            unfinished.append(form().head(), b"")
        _score(inputs, columns, model, out.suffix.lower(), unfinished, tell)
        unfinished.append(form().end(), b"")
        unfinished.finish()
    except (KeyboardInterrupt, PaydeskError):
        unfinished.keep()
        raise
    finally:
        unfinished.close()
    return unfinished.totals


def _score(
    inputs: Sequence[Input],
    columns: Mapping[str, str],
    model: Model,
    suffix: str,
    unfinished: Unfinished,
    tell: Callable[[Progress], None],
) -> None:
    sizes = [source.size for source in inputs]
    size = sum(known for known in sizes if known is not None) if None not in sizes else None
    totals = unfinished.totals
    before = totals.pieces
    workers = len(os.sched_getaffinity(0))
    pool = _pool(size, workers, (model, suffix, os.getpid()))
    waiting: deque[tuple[Future[_Done], int]] = deque()

    def take() -> None:
        future, read = waiting.popleft()
        done = future.result()
        totals.pieces += 1
        totals.scored += done.scored
        totals.refused += done.refused
        unfinished.append(done.rows, done.bad)
        tell(Progress(read, size, totals.scored + totals.refused))

    try:
        for n, (name, layout, piece, read) in enumerate(_all_pieces(inputs, columns)):
            if n < before:
                continue  # Done by an earlier run.
            waiting.append((pool.submit(_work, name, layout, piece), read))
            if len(waiting) > 2 * workers:
                take()
        while waiting:
            take()
    except BrokenProcessPool as error:
        message = "A process that scores was ended from outside, as when memory runs out. Go on"
        raise OutputError(f"{message} with --resume.") from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _all_pieces(
    inputs: Sequence[Input], columns: Mapping[str, str]
) -> Iterator[tuple[str, Layout, Piece, int]]:
    before = 0
    for source in inputs:
        opened = Opened(source, columns)
        try:
            for piece in opened.pieces:
                yield source.name, opened.layout, piece, before + opened.read
        finally:
            opened.close()
        before += source.size or 0


@dataclass(frozen=True, slots=True)
class _Done:
    scored: int
    refused: int
    rows: bytes
    bad: bytes


class _Worker:
    """What a process keeps between pieces."""

    scorer: Scorer
    form: Form


def _pool(size: int | None, workers: int, prepared: tuple[Model, str, int]) -> Executor:
    if size is not None and size < _SMALL:
        return ThreadPoolExecutor(1, initializer=_load, initargs=prepared)
    return ProcessPoolExecutor(workers, get_context("spawn"), _prepare, prepared)


def _prepare(model: Model, suffix: str, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer.
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _load(model, suffix, parent)


def _load(model: Model, suffix: str, _parent: int) -> None:
    _Worker.scorer = model.scorer()
    _Worker.form = _FORMS[suffix]()


def _end_with(parent: int) -> None:
    """A first process that is killed leaves none behind."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _work(name: str, layout: Layout, piece: Piece) -> _Done:
    scored = score(_Worker.scorer, layout.block(piece))
    lines, refused = scored.rows.lines, scored.rows.refused
    columns: Columns = {"file": [name] * len(lines), "line": lines, **scored.columns}
    bad = b"".join(
        orjson.dumps(
            {"file": name, "line": row.line, "error": row.error, "errors": list(row.fields)},
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for row in refused
    )
    return _Done(len(lines), len(refused), _Worker.form.part(lines, columns, ()), bad)
