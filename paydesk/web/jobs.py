"""Jobs over HTTP: a body of rows is taken, worked on after the answer, and its result kept."""

import hashlib
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from sqlalchemy import Engine
from starlette.requests import Request

from paydesk.storage.database import now_us
from paydesk.storage.decision_log import DecisionLog
from paydesk.storage.identifiers import new_id
from paydesk.storage.jobs import (
    Job,
    JobKeyReusedError,
    JobNotFoundError,
    JobsFullError,
    JobTable,
    Kind,
)
from paydesk.web.answers import JobState
from paydesk.web.bulk import BULK_LIMIT, Bulk, receive
from paydesk.web.errors import JobElsewhereError, JobUnfinishedError, SpoolError
from paydesk.web.job_files import JobFiles
from paydesk.web.job_runner import RESULT_S, JobRunner
from paydesk.web.lanes import Lane
from paydesk.web.row_forms import Rows, Wanted
from paydesk.web.row_work import JOB_ROWS, Work, Works, opened

_PART = 256 * 1024
_SECOND_US = 1_000_000


class Jobs:
    """The jobs of this server; those of others on the same database are seen, and not worked on."""

    def __init__(
        self, home: Path, engine: Engine, log: DecisionLog, bulk: Bulk, works: Works, limit: int
    ) -> None:
        """Files are kept in `home`/jobs, up to `limit` bytes."""
        self._table = JobTable(engine)
        self._files = JobFiles(home / "jobs")
        self._bulk = bulk
        self._works = works
        self._limit = limit
        self._lane = Lane("jobs", threads=2, waiting=64, deadline_s=20)
        self._runner = JobRunner(self._table, self._files, log, bulk.lane, self._work, limit)

    async def submit(
        self, request: Request, kind: Kind, asked: Wanted, client_key: str | None
    ) -> tuple[Job, bool]:
        """A job with the request's body, or the one that the same body made under the same key.

        True: it is new. It is on disk by then. Raises LaneBusyError, JobsFullError,
        JobKeyReusedError, SpoolError, DatabaseUnavailableError, and what `receive` and `opened`
        raise.
        """
        job_id = new_id()
        with self._bulk.place():
            try:
                job = await self._received(request, job_id, kind, asked, client_key)
            except OSError as error:
                await self._lane.run(self._files.remove, job_id)
                why = f"The body could not be kept ({error.strerror}). Send it again later."
                raise SpoolError(why) from error
            except BaseException:
                self._files.remove(job_id)
                raise
            try:
                found, new = await self._lane.run(self._table.submit, job, self._limit)
            except (JobsFullError, JobKeyReusedError):
                await self._lane.run(self._files.remove, job_id)
                raise
            # Whatever else it raises, the job may be in the database: its body stays.
        if not new:
            await self._lane.run(self._files.remove, job_id)
        self._runner.wake()
        return found, new

    async def _received(
        self, request: Request, job_id: str, kind: Kind, asked: Wanted, client_key: str | None
    ) -> Job:
        place = await self._lane.run(lambda: self._files.place)
        declared = request.headers.get("content-length", "0")
        more = min(int(declared), BULK_LIMIT) if declared.isdigit() else 0
        # The repetition of a job that is there needs no room.
        if client_key is None or not await self._lane.run(self._table.has_key, client_key):
            room = partial(self._table.refuse_past, place, more, self._limit, more_jobs=1)
            await self._lane.run(room)
        digest = hashlib.sha256(repr((kind, asked)).encode())
        with await self._lane.run(self._files.new_body, job_id) as body:

            def keep(part: bytes) -> None:
                body.write(part)
                digest.update(part)

            size = await receive(request, keep, self._bulk.lane)
            await self._bulk.lane.run(self._look_at, body, kind, asked)
            await self._lane.run(self._files.keep, job_id, body)
        return Job(
            job_id=job_id,
            kind=kind,
            place=place,
            form=asked.rows,
            coding=asked.coding,
            answer=asked.answer,
            digest=digest.hexdigest(),
            body_bytes=size,
            created_at_us=now_us(),
            client_key=client_key,
        )

    def _look_at(self, body: BinaryIO, kind: Kind, asked: Wanted) -> None:
        """Raises BadRequestError where the job could not even begin."""
        body.seek(0)
        opened(body, asked, self._works.work(kind, asked.answer), JOB_ROWS)

    async def find(self, kind: Kind, job_id: str) -> Job:
        """Raises JobNotFoundError."""
        return await self._lane.run(self._table.find, kind, job_id)

    async def result(self, kind: Kind, job_id: str) -> tuple[Job, BinaryIO]:
        """A job that has ended, and its result, opened.

        Raises JobNotFoundError, JobUnfinishedError or JobElsewhereError.
        """
        job = await self.find(kind, job_id)
        if job.ended_at_us is None:
            message = f"Job {job_id} is {job.state}: it has no result before it is done."
            raise JobUnfinishedError(message)
        try:
            if job.place == await self._lane.run(lambda: self._files.place):
                return job, await self._lane.run(self._files.result_to_read, job_id)
        except OSError:
            pass
        if job.state == "failed" and not job.result_bytes:
            raise JobNotFoundError(f"Job {job_id} has no result: {job.error}")
        message = (
            f"The result of job {job_id} is on the disk of another server, or of one that has gone."
        )
        raise JobElsewhereError(f"{message} Ask again on a new connection.")

    async def parts(self, result: BinaryIO, size: int) -> AsyncGenerator[bytes]:
        """The first `size` bytes of a result's file, which is closed then.

        A server that was killed may have written more than it said.
        """
        with result:
            while part := await self._lane.run(result.read, min(_PART, size)):
                size -= len(part)
                yield part

    async def remove(self, kind: Kind, job_id: str) -> None:
        """Ends a job where it is, and removes all that there is of it. Raises JobNotFoundError."""
        job = await self._lane.run(self._table.remove, kind, job_id)
        if job.place == await self._lane.run(lambda: self._files.place):
            await self._lane.run(self._files.remove, job_id)

    def by_state(self) -> Mapping[str, int]:
        """How many jobs are in which state, over all servers. Blocks on the database."""
        return self._table.by_state()

    def close(self) -> None:
        """Stops; what is open is gone on with by the next server."""
        self._runner.close()
        self._lane.close()

    def _work(self, job: Job) -> Work:
        return self._works.work(job.kind, cast(Rows, job.answer))


def shown(job: Job) -> JobState:
    """A job as it is answered."""
    expires = None if job.ended_at_us is None else job.ended_at_us + RESULT_S * _SECOND_US
    return JobState(
        job_id=job.job_id,
        state=job.state,
        rows=job.rows,
        refused=job.refused,
        bytes_read=job.read_bytes,
        bytes_total=job.body_bytes,
        created_at=_moment(job.created_at_us),
        started_at=job.started_at_us and _moment(job.started_at_us),
        ended_at=job.ended_at_us and _moment(job.ended_at_us),
        expires_at=expires and _moment(expires),
        error=job.error,
    )


def _moment(us: int) -> str:
    return datetime.fromtimestamp(us / _SECOND_US, UTC).isoformat(timespec="milliseconds")
