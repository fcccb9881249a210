"""Which job is worked on, the oldest of this disk that nobody has; and how long the others stay."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import BinaryIO

from paydesk.storage.database import now_us
from paydesk.storage.decision_log import DecisionLog
from paydesk.storage.jobs import Job, JobMovedError, JobNotFoundError, JobTable
from paydesk.web.job_files import JobFiles
from paydesk.web.job_run import JobRun, Means, StoppingError
from paydesk.web.lanes import Lane
from paydesk.web.row_work import Work

RESULT_S = 86_400  # How long a result is kept.
UNSEEN_S = 3_600  # After which nobody waits any more for the server that has a body.

_POLL_S = 2.0
_RETRY_S = 10.0
_SWEEP_S = 60.0
_STOP_S = 5.0
_SECOND_US = 1_000_000
_log = logging.getLogger(__name__)


class JobRunner:
    """Works on jobs one at a time, in a thread of its own.

    Rows are worked on by `lane`, in turn with the bodies that somebody waits for.
    """

    def __init__(
        self,
        table: JobTable,
        files: JobFiles,
        log: DecisionLog,
        lane: Lane,
        work: Callable[[Job], Work],
        limit: int,
    ) -> None:
        """`work` says what is done with a job; `limit`: the bytes that jobs may have."""
        self._table = table
        self._files = files
        self._log = log
        self._lane = lane
        self._work = work
        self._limit = limit
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        # A job may take hours, in which the others' time goes on and this server is to be seen.
        self._sweeper = threading.Thread(target=self._sweep_often, name="jobs-sweep", daemon=True)
        self._sweeper.start()
        self._thread.start()

    def wake(self) -> None:
        """There is something new."""
        self._woken.set()

    def close(self) -> None:
        """Stops behind the block that is under way; the next server goes on from there."""
        self._stopping.set()
        self._woken.set()
        self._thread.join(_STOP_S)
        self._sweeper.join(_STOP_S)

    def _sweep_often(self) -> None:
        while True:
            try:
                self._sweep()
            except Exception:  # noqa: BLE001 (whatever it is, the next sweep may do it)
                _log.warning("Jobs are not swept", exc_info=True)
            if self._stopping.wait(_SWEEP_S):
                return

    def _run(self) -> None:
        with asyncio.Runner() as loop:
            means = Means(self._table, self._log, loop, self._lane, self._limit, self._stopping)
            while not self._stopping.is_set():
                self._woken.clear()
                worked, wait_s = False, _POLL_S
                try:
                    worked = self._work_on_one(means)
                except Exception:  # noqa: BLE001 (whatever it is, jobs go on later)
                    _log.warning("Jobs wait", exc_info=True)
                    wait_s = _RETRY_S
                if not worked:
                    self._woken.wait(wait_s)

    def _sweep(self) -> None:
        now = now_us()
        self._table.seen(self._files.place)
        self._table.abandon(now - UNSEEN_S * _SECOND_US)
        self._table.expire(now - RESULT_S * _SECOND_US)
        self._files.tidy(self._table.states(self._files.place))

    def _work_on_one(self, means: Means) -> bool:
        """Works on the oldest job that nobody has; False where there is none."""
        for job in self._table.open(self._files.place):
            try:
                body = self._files.claim(job.job_id)
            except FileNotFoundError:
                self._fail(job, "Its body is not on the disk any more. Submit it again.")
                continue
            if body is None:
                continue
            with body:
                # Before it is taken: a disk that fails is no failed try.
                result = self._files.result_to_write(job.job_id)
                try:
                    taken = self._table.take(job.job_id)
                    if taken is not None:
                        self._one(taken, body, result, means)
                        return True
                finally:
                    os.close(result)
        return False

    def _one(self, job: Job, body: BinaryIO, result: int, means: Means) -> None:
        try:
            JobRun(job, body, result, self._work(job), means).to_the_end()
            self._files.drop_body(job.job_id)
        except StoppingError:
            self._table.give_back(job.job_id)
        except OSError:
            self._table.give_back(job.job_id)
            raise
        except (JobMovedError, JobNotFoundError):
            # Ended by another server it still has a result, up to where it was.
            if job.job_id not in self._table.states(self._files.place):
                self._files.remove(job.job_id)

    def _fail(self, job: Job, why: str) -> None:
        after = replace(job, state="failed", ended_at_us=now_us(), error=why)
        with suppress(JobMovedError):  # Another worker has ended it.
            self._table.advance(job, after)
