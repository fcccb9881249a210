"""One job from where it stands to its end, a block after the other.

The answer to a block goes into the result's file first. Then one transaction logs the decisions and
says how far the job is. Whoever takes the job over after a kill cuts the file where the transaction
says, and goes on from there: no decision is logged twice, and none is missing.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, BinaryIO, cast

from paydesk.bulk.rows import Block
from paydesk.bulk.unpacking import BrokenOffError, Coding
from paydesk.errors import PaydeskError
from paydesk.storage.database import DatabaseUnavailableError, now_us
from paydesk.storage.decision_log import DecisionLog, DecisionLogUnavailableError
from paydesk.storage.jobs import (
    Job,
    JobMovedError,
    JobNotFoundError,
    JobTable,
    State,
    advance_in,
)
from paydesk.web.lanes import Lane
from paydesk.web.row_forms import Rows, Wanted
from paydesk.web.row_work import JOB_ROWS, Work, last_row, opened

_RETRY_S = 5.0
_MOST_TAKES = 3
_FAILED = "Paydesk failed on this job; its log says why."
_log = logging.getLogger(__name__)


class StoppingError(Exception):
    """The server ends, and the job is to be gone on with by the next one."""


class JobKillsError(PaydeskError):
    """The server has ended on this job again and again."""


@dataclass(frozen=True, slots=True)
class Means:
    """What a job is worked on with; `limit`: the bytes that jobs of this disk may have."""

    table: JobTable
    log: DecisionLog
    loop: asyncio.Runner
    lane: Lane
    limit: int
    stopping: threading.Event


class JobRun:
    """A job that was taken, with its body and the descriptor of its result."""

    def __init__(self, job: Job, body: BinaryIO, result: int, work: Work, means: Means) -> None:
        self._job = job
        self._body = body
        self._result = result
        self._work = work
        self._by = means

    def to_the_end(self) -> None:
        """Works until the job is done or failed, and both say so: the result and the database.

        A database or disk that fails is waited for. Raises StoppingError, OSError for a body that
        cannot be read now, and JobMovedError or JobNotFoundError for a job that was removed.
        """
        state: State = "done"
        why = None
        try:
            os.ftruncate(self._result, self._job.result_bytes)
            if self._job.takes > _MOST_TAKES:
                message = f"The server ended {_MOST_TAKES} times while it worked on what follows"
                raise JobKillsError(f"{message} line {self._job.line:,}.")
            for block in self._blocks():
                self._answer(block)
        except BrokenOffError as error:
            why = str(error)
        except (StoppingError, JobMovedError, JobNotFoundError, OSError):
            raise
        except PaydeskError as error:
            state, why = "failed", str(error)
        except Exception as error:
            if self._by.stopping.is_set():  # Nobody works any more for whom this thread asks.
                raise StoppingError from error
            _log.exception("A job failed")
            state, why = "failed", _FAILED
        self._end(state, why)

    def _blocks(self) -> Iterator[Block]:
        job = self._job
        asked = Wanted(cast(Rows, job.form), cast(Coding, job.coding), cast(Rows, job.answer))
        turn = self._by.lane.call
        blocks = turn(opened, self._body, asked, self._work, JOB_ROWS)
        while (block := turn(next, blocks, None)) is not None:
            if block.last > job.line:
                yield block.after(job.line)

    def _answer(self, block: Block) -> None:
        answered = self._by.lane.call(self._work.answer, block)
        part = answered.part
        if not self._job.result_bytes:
            part = self._work.form.head() + part
        after = replace(
            self._job,
            read_bytes=self._body.tell(),
            rows=self._job.rows + answered.rows,
            refused=self._job.refused + answered.refused,
            line=block.last,
            result_bytes=self._job.result_bytes + len(part),
        )
        self._write(part)
        self._commit(after, answered.logged)
        self._work.done(answered)
        if self._by.stopping.is_set():
            raise StoppingError

    def _end(self, state: State, why: str | None) -> None:
        job = self._job
        part = b"" if job.result_bytes else self._work.form.head()
        if why is not None:
            part += last_row(self._work, job.line + 1, why)
        part += self._work.form.end()
        cut_short = int(state == "done" and why is not None)
        after = replace(
            job,
            state=state,
            ended_at_us=now_us(),
            read_bytes=job.body_bytes if state == "done" else job.read_bytes,
            rows=job.rows + cut_short,
            refused=job.refused + cut_short,
            result_bytes=job.result_bytes + len(part),
            error=why if state == "failed" else None,
        )
        self._write(part)
        os.ftruncate(self._result, after.result_bytes)
        self._commit(after, ())

    def _write(self, part: bytes) -> None:
        """Puts a part of the result on disk, behind what is there for sure."""
        while True:
            try:
                rest, at = memoryview(part), self._job.result_bytes
                while rest:
                    written = os.pwrite(self._result, rest, at)
                    rest, at = rest[written:], at + written
                os.fdatasync(self._result)
            except OSError as error:
                self._wait(error)
            else:
                return

    def _commit(self, after: Job, logged: Sequence[Mapping[str, Any]]) -> None:
        """Moves the job on, together with the decisions, once."""
        while True:
            try:
                if after.state == "running":
                    more = after.result_bytes - self._job.result_bytes
                    self._by.table.refuse_past(after.place, more, self._by.limit, more_jobs=0)
                if logged:
                    beside = partial(advance_in, before=self._job, after=after)
                    self._by.loop.run(self._by.log.append_all(logged, beside))
                else:
                    self._by.table.advance(self._job, after)
                break
            except (DecisionLogUnavailableError, DatabaseUnavailableError, JobMovedError) as error:
                # Whatever is said of it: what the database has is what was done.
                if self._is_at(after):
                    break
                self._wait(error)
        self._job = after

    def _is_at(self, after: Job) -> bool:
        try:
            found = self._by.table.find(after.kind, after.job_id)
        except DatabaseUnavailableError:
            return False
        where = (found.state, found.line, found.result_bytes)
        if where == (after.state, after.line, after.result_bytes):
            return True
        if where == (self._job.state, self._job.line, self._job.result_bytes):
            return False
        raise JobMovedError(f"Job {after.job_id} is another's.")

    def _wait(self, error: Exception) -> None:
        _log.warning("A job waits: %s", type(error).__name__)
        if self._by.stopping.wait(_RETRY_S):
            raise StoppingError from error
