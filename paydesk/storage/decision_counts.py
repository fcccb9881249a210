"""Decisions counted by time, level and probability: added to by each commit, read by charts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.dialects import postgresql, sqlite

from paydesk.storage.database import answering
from paydesk.storage.tables import decision_counts

SPAN_US = 300_000_000  # five minutes: the finest that is kept
TWENTIETHS = 20
# Alike, and without a name in common.
_INSERT: dict[str, Any] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


@dataclass(frozen=True, slots=True)
class Counted:
    """Decisions by (time in us, level) and by (twentieth of the probability, level)."""

    over_time: dict[tuple[int, int], int]
    by_probability: dict[tuple[int, int], int]


def count_in(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Adds `rows` (columns of `decisions`) to the counts, within the caller's transaction."""
    counts = Counter(
        (
            row["recorded_at_us"] - row["recorded_at_us"] % SPAN_US,
            row["level"],
            min(int(row["fraud_probability"] * TWENTIETHS), TWENTIETHS - 1),
        )
        for row in rows
    )
    names = ("span_us", "level", "twentieth")
    fresh = _INSERT[connection.dialect.name](decision_counts)
    added = fresh.on_conflict_do_update(
        index_elements=names,
        set_={"decisions": decision_counts.c.decisions + fresh.excluded.decisions},
    )
    # Sorted: two workers that lock the same rows in one order cannot deadlock.
    connection.execute(
        added,
        [
            {**dict(zip(names, key, strict=True)), "decisions": count}
            for key, count in sorted(counts.items())
        ],
    )


def counted(engine: Engine, since_us: int, until_us: int, step_us: int) -> Counted:
    """What was decided from `since_us` until before `until_us`, in steps of `step_us`.

    `since_us` and `step_us` are multiples of SPAN_US. Blocks on the database; raises
    DatabaseUnavailableError.
    """
    column = decision_counts.c
    within = (column.span_us >= since_us) & (column.span_us < until_us)
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
