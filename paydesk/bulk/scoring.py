"""Blocks of transactions to decisions, as columns: the one way of bulk, files and Spark."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paydesk.bulk.answers import Kind
from paydesk.bulk.rows import Block, Transactions, take
from paydesk.risk.scorer import Scorer, Verdicts
from paydesk.risk.transaction import Level

# Of a Decision, in its order; all but the id, which those in the log have.
SCORE_KINDS: Mapping[str, Kind] = {
    "tx_id": "text",
    "score": "integer",
    "risk_level": "text",
    "triggered_rules": "texts",
    "fraud": "boolean",
    "fraud_probability": "number",
    "reasons": "texts",
    "model": "text",
}
_LEVELS = [level.name for level in Level]


@dataclass(frozen=True, slots=True)
class Scored:
    """The decisions about the good rows, as columns of SCORE_KINDS, and what they came from."""

    rows: Transactions
    verdicts: Verdicts
    columns: dict[str, list[Any]]


def score(scorer: Scorer, block: Block) -> Scored:
    """The decisions that /score would make of these rows."""
    rows = take(block)
    verdicts = scorer.score_columns(rows.columns)
    triggered, reasons = scorer.explain_columns(rows.columns, verdicts)
    columns: dict[str, list[Any]] = {
        "tx_id": rows.tx_ids,
        "score": verdicts.points.tolist(),
        "risk_level": [_LEVELS[level] for level in verdicts.levels.tolist()],
        "triggered_rules": triggered,
        "fraud": verdicts.fraud.tolist(),
        "fraud_probability": verdicts.probabilities.tolist(),
        "reasons": reasons,
        "model": [scorer.model] * len(rows.tx_ids),
    }
    return Scored(rows, verdicts, columns)
