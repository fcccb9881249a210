"""Decisions as the log has them, turned into what is answered: JSON members and CSV lines."""

import csv
import io
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy import Row

from paydesk.risk.transaction import Decision, Level

COLUMNS = (
    "decision_id",
    "recorded_at",
    "tx_id",
    "amount",
    "category",
    "hour",
    "store",
    "customer_id",
    "risk_level",
    "score",
    "fraud",
    "fraud_probability",
    "triggered_rules",
    "reasons",
    "model",
)
# What begins a formula, also in the letters of East Asia, and also after a sign that may be taken
# for the end of a cell or a line: in much of Europe a semicolon separates cells.
_FORMULA = re.compile(r"(?:^|[;\r\n\t])\s*[=+\-@＝＋－＠]|^[\t\r\n]")
_SEPARATOR = re.compile(r"[;\r\n\t]")


def shown(row: Row[Any]) -> dict[str, Any]:
    """A decision as JSON members."""
    recorded = datetime.fromtimestamp(row.recorded_at_us / 1e6, UTC)
    return {
        "tx_id": row.tx_id,
        "status": "found",
        "score": row.points,
        "risk_level": Level(row.level).name,
        "triggered_rules": orjson.loads(row.triggered_rules),
        "fraud": row.fraud,
        "fraud_probability": row.fraud_probability,
        "reasons": orjson.loads(row.reasons),
        "model": row.model,
        "decision_id": row.decision_id,
        "recorded_at": recorded.isoformat(timespec="microseconds"),
        "amount": row.amount,
        "category": row.category,
        "hour": row.hour,
        "store": row.store,
        "customer_id": row.customer_id,
    }


def decision(row: Row[Any]) -> Decision:
    """A decision as it was first answered."""
    return Decision(
        tx_id=row.tx_id,
        score=row.points,
        risk_level=Level(row.level).name,
        triggered_rules=orjson.loads(row.triggered_rules),
        fraud=row.fraud,
        fraud_probability=row.fraud_probability,
        reasons=orjson.loads(row.reasons),
        model=row.model,
        decision_id=row.decision_id,
    )


def heading() -> str:
    """The first line of a CSV export."""
    return _lines([COLUMNS])


def csv_lines(rows: Iterable[Row[Any]]) -> str:
    """A line a decision, as RFC 4180 writes them.

    A text that a spreadsheet would take for a formula gets an apostrophe before it: callers choose
    these texts, and others open the file.
    """
    return _lines([_cell(cells[column]) for column in COLUMNS] for cells in map(shown, rows))


def disarmed(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula."""
    return "'" + _SEPARATOR.sub(" ", text) if _FORMULA.search(text) else text


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return "; ".join(value)
    return disarmed(value) if isinstance(value, str) else value


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
