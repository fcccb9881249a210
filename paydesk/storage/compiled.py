"""A statement compiled once: for a row, SQLAlchemy's own way takes longer than SQLite does."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.sql.dml import Insert


class Compiled:
    """An insert of rows with the given columns, in the words of an engine's dialect.

    Values go to the driver as they are: columns whose type changes them cannot be used.
    """

    def __init__(self, engine: Engine, statement: Insert, columns: Sequence[str]) -> None:
        compiled = statement.compile(dialect=engine.dialect, column_keys=list(columns))
        self._text = str(compiled)
        self._order = compiled.positiontup  # None where parameters go by name

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> int:
        """Executes it for each of `rows`, of which there is at least one; how many it wrote."""
        if self._order is None:
            return connection.exec_driver_sql(self._text, list(rows)).rowcount
        order = self._order
        values = [tuple(row[k] for k in order) for row in rows]
        return connection.exec_driver_sql(self._text, values).rowcount
