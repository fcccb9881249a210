"""Measures a reader on mail whose right answers are known."""

import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path

from paydesk.entities.reader import Reader
from paydesk.errors import PaydeskError

FIELDS = ("amount", "currency", "accountA", "accountB")

Form = dict[str, str | None]


class HoldoutError(PaydeskError):
    """A file of held-out mail cannot be used; the message names file and line."""


def same(field: str, read: str | None, right: str | None) -> bool:
    """Whether a field was read rightly: amounts by value, names by their letters."""
    if read is None or right is None:
        return read is right
    if field == "amount":
        return Decimal(read) == Decimal(right)
    return " ".join(read.split()) == " ".join(right.split())


def score(answers: Iterable[tuple[Form, Form]]) -> dict[str, float]:
    """The figures over pairs of (what was read, what is right).

    - `exact_match`: the share of mails with all four fields right or rightly absent;
    - `micro_precision`, `micro_recall`, `micro_f1` over filled fields;
    - `empty_exact`: of the mails that ask for no payment, the share left empty;
    - `<field>_accuracy`: the share of mails with that field right or rightly absent;
    - `<field>_f1` over filled fields.
    """
    pairs = list(answers)
    right = dict.fromkeys(FIELDS, 0)
    hits, given, wanted = dict(right), dict(right), dict(right)
    exact = empty = left_empty = 0
    for read, gold in pairs:
        verdict = {field: same(field, read[field], gold[field]) for field in FIELDS}
        for field in FIELDS:
            right[field] += verdict[field]
            given[field] += read[field] is not None
            wanted[field] += gold[field] is not None
            hits[field] += verdict[field] and gold[field] is not None
        exact += all(verdict.values())
        if not any(gold[field] is not None for field in FIELDS):
            empty += 1
            left_empty += all(verdict.values())
    count = max(len(pairs), 1)
    total, read_total, gold_total = (sum(c.values()) for c in (hits, given, wanted))
    return {
        "exact_match": exact / count,
        "micro_precision": total / max(read_total, 1),
        "micro_recall": total / max(gold_total, 1),
        "micro_f1": 2 * total / max(read_total + gold_total, 1),
        "empty_exact": left_empty / max(empty, 1),
        **{f"{field}_accuracy": right[field] / count for field in FIELDS},
        **{
            f"{field}_f1": 2 * hits[field] / max(given[field] + wanted[field], 1)
            for field in FIELDS
        },
    }


def evaluate(reader: Reader, holdout: Path) -> dict[str, float]:
    """The figures of `score` for `reader` over a JSONL file of `{"text", "fields"}`."""
    return score(
        (reader.read(text).model_dump(include=set(FIELDS)), form) for text, form in _gold(holdout)
    )


def _gold(holdout: Path) -> Iterable[tuple[str, Form]]:
    try:
        lines = holdout.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"{holdout} cannot be read ({error}); name a JSONL file of annotated mail."
        raise HoldoutError(message) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield row["text"], {field: row["fields"][field] for field in FIELDS}
        except (ValueError, KeyError, TypeError) as error:
            message = f"{holdout}, line {number}: no text with four fields ({error!r})."
            raise HoldoutError(message) from error
