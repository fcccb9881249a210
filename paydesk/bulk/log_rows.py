"""Decisions as rows of the log, for every way that writes them: one transaction or a block."""

from collections.abc import Sequence
from typing import Any

import orjson

from paydesk.bulk.scoring import Scored

# In the order of the columns of `decisions`.
Subject = tuple[str, float, str | None, int, str | None, str | None]
Found = tuple[int, int, bool, float, Sequence[str], Sequence[str]]


def log_row(
    decision_id: str, at_us: int, subject: Subject, found: Found, model: str
) -> dict[str, Any]:
    """A row of `decisions`.

    `subject`: tx_id, amount, category, hour, store, customer_id. `found`: level, points, fraud,
    fraud probability, triggered rules, reasons. `at_us`: microseconds since 1970, UTC.
    """
    tx_id, amount, category, hour, store, customer_id = subject
    level, points, fraud, probability, triggered, reasons = found
    return {
        "decision_id": decision_id,
        "recorded_at_us": at_us,
        "tx_id": tx_id,
        "amount": repr(amount),
        "category": category,
        "hour": hour,
        "store": store,
        "customer_id": customer_id,
        "level": level,
        "points": points,
        "fraud": fraud,
        "fraud_probability": probability,
        "triggered_rules": _as_json(triggered),
        "reasons": _as_json(reasons),
        "model": model,
    }


def log_rows(scored: Scored, ids: Sequence[str], at_us: int) -> list[dict[str, Any]]:
    """The rows of a block of decisions, whose identifiers are `ids`."""
    taken, columns = scored.rows.columns, scored.columns
    subjects = zip(
        columns["tx_id"],
        *(taken[name].tolist() for name in ("amount", "category", "hour", "store", "customer_id")),
        strict=True,
    )
    found = zip(
        scored.verdicts.levels.tolist(),
        *(
            columns[name]
            for name in ("score", "fraud", "fraud_probability", "triggered_rules", "reasons")
        ),
        strict=True,
    )
    rows = zip(ids, subjects, found, columns["model"], strict=True)
    return [log_row(one, at_us, subject, what, model) for one, subject, what, model in rows]


def _as_json(texts: Sequence[str]) -> str:
    return orjson.dumps(texts).decode() if texts else "[]"
