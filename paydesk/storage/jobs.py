"""Jobs in the database: what was submitted, how far it is, and which disk has its files.

    queued ──► running ──► done | failed        removed at any time, and some time after its end

How far a job is goes into the transaction that logs its decisions: both are there, or neither is.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Engine, Row, case, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from paydesk.errors import PaydeskError
from paydesk.storage.database import answering, now_us, writing
from paydesk.storage.tables import jobs

Kind = Literal["score", "predict"]
State = Literal["queued", "running", "done", "failed"]
STATES: tuple[State, ...] = get_args(State)

MOST_JOBS = 1_000
_OPEN = jobs.c.state.in_(("queued", "running"))
_UNREACHABLE = "The jobs cannot be reached in the database. Try again in some seconds."
_ABANDONED = (
    "The server that has its body has not been seen for a long time. What `rows` counts was done; "
    "submit the rest again."
)


class JobNotFoundError(PaydeskError):
    """There is no such job, or no more."""


class JobKeyReusedError(PaydeskError):
    """The Idempotency-Key belongs to a job with another body."""


class JobsFullError(PaydeskError):
    """Bodies that wait and results that are kept take all the room that they may."""


class JobMovedError(PaydeskError):
    """The job is not where its worker left it: removed, or further on."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job. `line` is the last line of its body that `rows` and the result have.

    `place` names the disk that has its files. `takes`: how often it was begun since it last got on.
    Times are microseconds since 1970, UTC.
    """

    job_id: str
    kind: Kind
    place: str
    form: str
    coding: str
    answer: str
    digest: str
    body_bytes: int
    created_at_us: int
    client_key: str | None = None
    state: State = "queued"
    started_at_us: int | None = None
    ended_at_us: int | None = None
    read_bytes: int = 0
    rows: int = 0
    refused: int = 0
    line: int = 0
    result_bytes: int = 0
    takes: int = 0
    error: str | None = None


_COLUMNS = [jobs.c[field.name] for field in fields(Job)]


class JobTable:
    """Its methods block, and raise DatabaseUnavailableError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def submit(self, job: Job, limit: int) -> tuple[Job, bool]:
        """Adds `job`, or finds the one that its key made before; True when it is new.

        `limit`: the bytes that jobs of its place may have. Raises JobKeyReusedError or
        JobsFullError.
        """
        with answering(_UNREACHABLE):
            try:
                with writing(self._engine) as connection:
                    earlier = _of_key(connection, job)
                    if earlier is None:
                        _refuse_past(connection, job.place, job.body_bytes, limit, more_jobs=1)
                        new = {**asdict(job), "seen_at_us": job.created_at_us}
                        connection.execute(insert(jobs).values(new))
            except IntegrityError:  # Another request with this key came at the same moment.
                with self._engine.connect() as connection:
                    earlier = _of_key(connection, job)
                if earlier is None:
                    raise
        if earlier is not None and earlier.digest != job.digest:
            message = (
                f"This Idempotency-Key was used for job {earlier.job_id}, whose body differs. Send "
                "a new key for a new job."
            )
            raise JobKeyReusedError(message)
        return earlier or job, earlier is None

    def refuse_past(self, place: str, more_bytes: int, limit: int, *, more_jobs: int) -> None:
        """Raises JobsFullError where there is no room for so much more."""
        with answering(_UNREACHABLE), self._engine.connect() as connection:
            _refuse_past(connection, place, more_bytes, limit, more_jobs)

    def has_key(self, client_key: str) -> bool:
        """Whether a job was submitted under this key."""
        query = select(func.count()).where(jobs.c.client_key == client_key)
        with answering(_UNREACHABLE), self._engine.connect() as connection:
            return connection.execute(query).scalar_one() > 0

    def find(self, kind: Kind, job_id: str) -> Job:
        """Raises JobNotFoundError."""
        query = select(*_COLUMNS).where(jobs.c.job_id == job_id, jobs.c.kind == kind)
        with answering(_UNREACHABLE), self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise JobNotFoundError(_not_there(job_id))
        return _job(row)

    def remove(self, kind: Kind, job_id: str) -> Job:
        """Forgets a job; who works on it finds out when it writes. Raises JobNotFoundError."""
        with answering(_UNREACHABLE), writing(self._engine) as connection:
            gone = connection.execute(
                delete(jobs)
                .where(jobs.c.job_id == job_id, jobs.c.kind == kind)
                .returning(*_COLUMNS)
            ).one_or_none()
        if gone is None:
            raise JobNotFoundError(_not_there(job_id))
        return _job(gone)

    def open(self, place: str) -> list[Job]:
        """Those that wait or are under way at this place, oldest first."""
        query = (
            select(*_COLUMNS)
            .where(jobs.c.place == place, _OPEN)
            .order_by(jobs.c.created_at_us, jobs.c.job_id)
        )
        with answering(_UNREACHABLE), self._engine.connect() as connection:
            return [_job(row) for row in connection.execute(query)]

    def take(self, job_id: str) -> Job | None:
        """The job as one that is under way now; None: it was removed, or is at its end."""
        return self._change(
            job_id,
            state="running",
            takes=jobs.c.takes + 1,
            started_at_us=func.coalesce(jobs.c.started_at_us, now_us()),
        )

    def give_back(self, job_id: str) -> None:
        """A clean stop is no failed try."""
        self._change(job_id, state="queued", takes=0)

    def advance(self, before: Job, after: Job) -> None:
        """The same as `advance_in`, in a transaction of its own."""
        with answering(_UNREACHABLE), writing(self._engine) as connection:
            advance_in(connection, before, after)

    def seen(self, place: str) -> None:
        """Says that a server at this place goes on with its jobs."""
        with answering(_UNREACHABLE), writing(self._engine) as connection:
            connection.execute(
                update(jobs).where(jobs.c.place == place, _OPEN).values(seen_at_us=now_us())
            )

    def abandon(self, seen_before_us: int) -> None:
        """Fails the open jobs of servers that were last seen before then."""
        with answering(_UNREACHABLE), writing(self._engine) as connection:
            connection.execute(
                update(jobs)
                .where(jobs.c.seen_at_us < seen_before_us, _OPEN)
                .values(state="failed", ended_at_us=now_us(), error=_ABANDONED)
            )

    def expire(self, ended_before_us: int) -> None:
        """Forgets the jobs that ended before then."""
        with answering(_UNREACHABLE), writing(self._engine) as connection:
            connection.execute(delete(jobs).where(jobs.c.ended_at_us < ended_before_us))

    def states(self, place: str) -> dict[str, State]:
        """The state of every job of this place, by id."""
        query = select(jobs.c.job_id, jobs.c.state).where(jobs.c.place == place)
        with answering(_UNREACHABLE), self._engine.connect() as connection:
            return {row.job_id: row.state for row in connection.execute(query)}

    def by_state(self) -> dict[str, int]:
        """The number of jobs by state, at all places."""
        query = select(jobs.c.state, func.count().label("number")).group_by(jobs.c.state)
        with answering(_UNREACHABLE), self._engine.connect() as connection:
            found = {row.state: row.number for row in connection.execute(query)}
        return {state: found.get(state, 0) for state in STATES}

    def _change(self, job_id: str, **values: Any) -> Job | None:
        with answering(_UNREACHABLE), writing(self._engine) as connection:
            row = connection.execute(
                update(jobs)
                .where(jobs.c.job_id == job_id, _OPEN)
                .values(values)
                .returning(*_COLUMNS)
            ).one_or_none()
        return None if row is None else _job(row)


def advance_in(connection: Connection, before: Job, after: Job) -> None:
    """Moves a job on from `before` to `after`, within the caller's transaction.

    Raises JobMovedError, which is to undo that transaction, where it is not at `before`.
    """
    moved = connection.execute(
        update(jobs)
        .where(
            jobs.c.job_id == before.job_id,
            _OPEN,
            jobs.c.line == before.line,
            jobs.c.result_bytes == before.result_bytes,
        )
        .values(
            state=after.state,
            ended_at_us=after.ended_at_us,
            read_bytes=after.read_bytes,
            rows=after.rows,
            refused=after.refused,
            line=after.line,
            result_bytes=after.result_bytes,
            takes=0,
            seen_at_us=now_us(),
            error=after.error,
        )
    )
    if moved.rowcount != 1:
        raise JobMovedError(_not_there(before.job_id))


def _refuse_past(
    connection: Connection, place: str, more_bytes: int, limit: int, more_jobs: int
) -> None:
    bodies = case((_OPEN, jobs.c.body_bytes), else_=0)
    query = select(func.count(), func.coalesce(func.sum(bodies + jobs.c.result_bytes), 0))
    number, held = connection.execute(query.where(jobs.c.place == place)).one()
    if number + more_jobs > MOST_JOBS:
        message = f"There are {MOST_JOBS:,} jobs here, the most that are kept"
    elif held + more_bytes > limit:
        message = (
            f"Jobs have {held:,} of the {limit:,} bytes that they may take here "
            "(PAYDESK_JOBS_BYTES)"
        )
    else:
        return
    raise JobsFullError(f"{message}: fetch results, DELETE their jobs, and submit this again.")


def _of_key(connection: Connection, job: Job) -> Job | None:
    if job.client_key is None:
        return None
    query = select(*_COLUMNS).where(jobs.c.client_key == job.client_key)
    row = connection.execute(query).one_or_none()
    return None if row is None else _job(row)


def _job(row: Row[Any]) -> Job:
    return Job(**row._mapping)


def _not_there(job_id: str) -> str:
    return f"There is no job {job_id[:40]!r}: it was removed, or its time was over."
