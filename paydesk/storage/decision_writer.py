"""Writes decisions and counts them; those with a source once, however often they come."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select

from paydesk.storage.compiled import Compiled
from paydesk.storage.database import inserting
from paydesk.storage.decision_counts import DecisionTally
from paydesk.storage.tables import SOURCE_KNOWN, decisions

COLUMNS = tuple(column.name for column in decisions.columns if column.name != "seq")
_PLAIN = tuple(name for name in COLUMNS if name != "source")
# What a transaction is to the log.
_TRANSACTION = ("tx_id", "amount", "hour", "category", "store", "customer_id")
_ASKED_AT_ONCE = 500


class DecisionWriter:
    """Writes within the caller's transaction."""

    def __init__(self, engine: Engine) -> None:
        once = inserting(engine, decisions).on_conflict_do_nothing(
            index_elements=["source"], index_where=SOURCE_KNOWN
        )
        self._plain = Compiled(engine, insert(decisions), _PLAIN)
        self._once = Compiled(engine, once, COLUMNS)
        self._tally = DecisionTally(engine)

    def write(
        self, connection: Connection, rows: Sequence[Mapping[str, Any]]
    ) -> dict[str, Row[Any]]:
        """Writes `rows` (columns of `decisions`), of which there is at least one.

        A row whose `source` the log has already changes nothing: the decision that is there is
        returned, by source.
        """
        if not any("source" in row for row in rows):
            self._plain.execute(connection, rows)
            self._tally.add(connection, rows)
            return {}
        whole = [row if "source" in row else {**row, "source": None} for row in rows]
        written = self._once.execute(connection, whole)
        there = {} if written == len(rows) else _others(connection, whole)
        # Two rows of one source may come together; the first of them is the one that is there.
        new = [
            row
            for row in whole
            if (other := there.get(row["source"])) is None
            or other.decision_id == row["decision_id"]
        ]
        if new:
            self._tally.add(connection, new)
        return there


def is_about(there: Row[Any], row: Mapping[str, Any]) -> bool:
    """Whether the decision that is there is about the same transaction as `row` is."""
    return all(there._mapping[name] == row[name] for name in _TRANSACTION)


def _others(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> dict[str, Row[Any]]:
    """The decisions that the log has under the sources of `rows` and that are not theirs."""
    own = {row["source"]: row["decision_id"] for row in rows if row["source"] is not None}
    sources = list(own)
    found: dict[str, Row[Any]] = {}
    for first in range(0, len(sources), _ASKED_AT_ONCE):
        some = sources[first : first + _ASKED_AT_ONCE]
        asked = select(decisions).where(decisions.c.source.in_(some))
        found |= {
            row.source: row
            for row in connection.execute(asked)
            if row.decision_id != own[row.source]
        }
    return found
