"""Transactions that were taken to rows of the log, scored as columns."""

from collections.abc import Sequence
from typing import Any

from paydesk.bulk.log_rows import log_row
from paydesk.risk.scorer import Scorer
from paydesk.stream.messages import Taken


def log_rows(
    scorer: Scorer, taken: Taken, sources: Sequence[str], ids: Sequence[str], at_us: int
) -> list[dict[str, Any]]:
    """The decision about each of the rows that were taken, as columns of `decisions`.

    `sources` are those of the whole batch, `ids` and the result of what was taken.
    """
    columns = taken.rows.columns
    verdicts = scorer.score_columns(columns)
    triggered, reasons = scorer.explain_columns(columns, verdicts)
    subjects = zip(
        taken.rows.tx_ids,
        *(
            columns[name].tolist()
            for name in ("amount", "category", "hour", "store", "customer_id")
        ),
        strict=True,
    )
    found = zip(
        verdicts.levels.tolist(),
        verdicts.points.tolist(),
        verdicts.fraud.tolist(),
        verdicts.probabilities.tolist(),
        triggered,
        reasons,
        strict=True,
    )
    rows: list[dict[str, Any]] = []
    for one, place, subject, what in zip(ids, taken.rows.lines, subjects, found, strict=True):
        row = log_row(one, at_us, subject, what, scorer.model)
        row["source"] = sources[place]
        rows.append(row)
    return rows
