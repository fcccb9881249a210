"""Transactions that were taken to rows of the log, scored as columns."""

from collections.abc import Sequence
from typing import Any

import orjson

from paydesk.risk.scorer import Scorer
from paydesk.stream.messages import Taken

_NOTHING = "[]"


def log_rows(
    scorer: Scorer, taken: Taken, sources: Sequence[str], ids: Sequence[str], at_us: int
) -> list[dict[str, Any]]:
    """The decision about each of the rows that were taken, as columns of `decisions`.

    `sources` are those of the whole batch, `ids` and the result of what was taken.
    """
    columns = taken.rows.columns
    verdicts = scorer.score_columns(columns)
    triggered, reasons = scorer.explain_columns(columns, verdicts)
    model = scorer.model
    return [
        {
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
            "triggered_rules": orjson.dumps(rules).decode() if rules else _NOTHING,
            "reasons": orjson.dumps(why).decode() if why else _NOTHING,
            "model": model,
            "source": sources[place],
        }
        for (
            decision_id,
            place,
            tx_id,
            amount,
            category,
            hour,
            store,
            customer_id,
            level,
            points,
            fraud,
            probability,
            rules,
            why,
        ) in zip(
            ids,
            taken.rows.lines,
            taken.rows.tx_ids,
            columns["amount"].tolist(),
            columns["category"].tolist(),
            columns["hour"].tolist(),
            columns["store"].tolist(),
            columns["customer_id"].tolist(),
            verdicts.levels.tolist(),
            verdicts.points.tolist(),
            verdicts.fraud.tolist(),
            verdicts.probabilities.tolist(),
            triggered,
            reasons,
            strict=True,
        )
    ]
