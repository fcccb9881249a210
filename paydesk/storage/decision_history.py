"""What was decided, read back: one decision, totals, pages newest first; and its retention."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, select, tuple_

from paydesk.storage.database import answering, writing
from paydesk.storage.tables import decision_totals, decisions

_PRUNED_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions; None leaves a field open. Times in microseconds since 1970, UTC."""

    level: int | None = None
    store: str | None = None
    since_us: int | None = None
    until_us: int | None = None  # exclusive

    @property
    def by_time(self) -> bool:
        """Whether the time is limited."""
        return self.since_us is not None or self.until_us is not None


@dataclass(frozen=True, slots=True)
class Position:
    """A decision's place among all."""

    recorded_at_us: int
    seq: int


class DecisionHistory:
    """Reads the log of decisions. Its methods block on the database.

    All of them raise DatabaseUnavailableError when it does not answer.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def latest(self, tx_id: str) -> Row[Any] | None:
        """The newest decision about `tx_id`, or None."""
        newest = (
            select(decisions)
            .where(decisions.c.tx_id == tx_id)
            .order_by(decisions.c.seq.desc())
            .limit(1)
        )
        with self._reading() as connection:
            return connection.execute(newest).one_or_none()

    def decision(self, decision_id: str) -> Row[Any] | None:
        """The decision with this id, or None."""
        one = select(decisions).where(decisions.c.decision_id == decision_id)
        with self._reading() as connection:
            return connection.execute(one).one_or_none()

    def totals(self) -> dict[int, int]:
        """Decisions since the log began, by level, over all workers; pruned ones count too."""
        with self._reading() as connection:
            rows = connection.execute(select(decision_totals)).all()
        return {row.level: row.decisions for row in rows}

    def page(
        self, which: DecisionFilter, before: Position | None, limit: int
    ) -> tuple[list[Row[Any]], Position | None]:
        """Up to `limit` decisions from `before` on, newest first, and where the next page begins.

        Newest first is the order in which they were written, which a clock that was set back
        cannot turn; where the time is limited it is the order of the recorded time, so that an
        index leads to the window.
        """
        column = decisions.c
        query = select(decisions)
        if which.level is not None:
            query = query.where(column.level == which.level)
        if which.store is not None:
            query = query.where(column.store == which.store)
        if which.since_us is not None:
            query = query.where(column.recorded_at_us >= which.since_us)
        if which.until_us is not None:
            query = query.where(column.recorded_at_us < which.until_us)
        if which.by_time:
            query = query.order_by(column.recorded_at_us.desc(), column.seq.desc())
            if before is not None:
                place = tuple_(column.recorded_at_us, column.seq)
                query = query.where(place < (before.recorded_at_us, before.seq))
        else:
            query = query.order_by(column.seq.desc())
            if before is not None:
                query = query.where(column.seq < before.seq)
        with self._reading() as connection:
            rows = list(connection.execute(query.limit(limit + 1)).all())
        if len(rows) <= limit:
            return rows, None
        last = rows[limit - 1]
        return rows[:limit], Position(last.recorded_at_us, last.seq)

    def prune(self, before_us: int) -> int:
        """Removes the decisions recorded before then, and says how many they were.

        In short transactions, so that scoring goes on beside it. Totals keep what they counted.
        """
        old = (
            select(decisions.c.seq)
            .where(decisions.c.recorded_at_us < before_us)
            .order_by(decisions.c.recorded_at_us)
            .limit(_PRUNED_AT_ONCE)
        )
        removed = 0
        while True:
            with answering(), writing(self._engine) as connection:
                step = connection.execute(delete(decisions).where(decisions.c.seq.in_(old)))
            removed += step.rowcount
            if step.rowcount < _PRUNED_AT_ONCE:
                return removed

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with answering(), self._engine.connect() as connection:
            yield connection
