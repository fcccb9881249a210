"""Decisions counted by time, level and probability: added to by each commit, read by charts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Table, func, select

from paydesk.storage.compiled import Compiled
from paydesk.storage.database import answering, inserting
from paydesk.storage.tables import decision_counts, decision_totals

SPANS_S = (14_400, 300)  # coarse to fine; the fine ones divide the coarse ones
TWENTIETHS = 20
_SECOND_US = 1_000_000
_FINE_US = SPANS_S[-1] * _SECOND_US
_KEY = ("span_s", "span_us", "level", "twentieth")


@dataclass(frozen=True, slots=True)
class Counted:
    """Decisions by (time in us, level) and by (twentieth of the probability, level)."""

    over_time: dict[tuple[int, int], int]
    by_probability: dict[tuple[int, int], int]


class DecisionTally:
    """Adds decisions to the counts, within the transaction that writes them."""

    def __init__(self, engine: Engine) -> None:
        self._totals = _adding(engine, decision_totals, ("level",))
        self._counts = _adding(engine, decision_counts, _KEY)

    def add(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
        """Counts `rows` (columns of `decisions`), of which there is at least one."""
        fine = Counter(
            (
                row["recorded_at_us"] // _FINE_US,
                row["level"],
                min(int(row["fraud_probability"] * TWENTIETHS), TWENTIETHS - 1),
            )
            for row in rows
        )
        levels: dict[int, int] = {}
        spans: dict[tuple[int, int, int, int], int] = {}
        for (span, level, twentieth), count in fine.items():
            levels[level] = levels.get(level, 0) + count
            at_us = span * _FINE_US
            for span_s in SPANS_S:
                key = (span_s, at_us - at_us % (span_s * _SECOND_US), level, twentieth)
                spans[key] = spans.get(key, 0) + count
        # Sorted: two workers that lock the same rows in one order cannot deadlock.
        self._totals.execute(
            connection,
            [{"level": level, "decisions": levels[level]} for level in sorted(levels)],
        )
        self._counts.execute(
            connection,
            [
                {**dict(zip(_KEY, key, strict=True)), "decisions": spans[key]}
                for key in sorted(spans)
            ],
        )


def _adding(engine: Engine, table: Table, key: tuple[str, ...]) -> Compiled:
    fresh = inserting(engine, table)
    added = fresh.on_conflict_do_update(
        index_elements=key,
        set_={"decisions": table.c.decisions + fresh.excluded.decisions},
    )
    return Compiled(engine, added, (*key, "decisions"))


def counted(engine: Engine, since_us: int, until_us: int, step_us: int) -> Counted:
    """What was decided from `since_us` until before `until_us`, in steps of `step_us`.

    Both `since_us` and `step_us` are multiples of a span; the coarser it is, the fewer rows are
    read. Blocks on the database; raises DatabaseUnavailableError.
    """
    column = decision_counts.c
    span_s = next(
        span_s
        for span_s in SPANS_S
        if step_us % (span_s * _SECOND_US) == since_us % (span_s * _SECOND_US) == 0
    )
    within = (column.span_s == span_s) & (column.span_us >= since_us) & (column.span_us < until_us)
    step = (column.span_us - column.span_us % step_us).label("step")
    total = func.sum(column.decisions)
    with answering(), engine.connect() as connection:
        over_time = connection.execute(
            select(step, column.level, total).where(within).group_by(step, column.level)
        ).all()
        by_probability = connection.execute(
            select(column.twentieth, column.level, total)
            .where(within)
            .group_by(column.twentieth, column.level)
        ).all()
    return Counted(
        {(at, level): int(number) for at, level, number in over_time},
        {(twentieth, level): int(number) for twentieth, level, number in by_probability},
    )
