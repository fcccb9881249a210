"""Rows of any form, taken or refused exactly as /score does: columns and sentences come out.

Whole columns are looked at first. Only rows that a column's look does not clear are validated one
by one, by the same model that /score uses; that model alone refuses.
"""

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from paydesk.errors import field_errors
from paydesk.risk.transaction import LARGEST_AMOUNT, LONGEST_NAME, NOON, ScoredTransaction
from paydesk.risk.transaction import PAYMENT_SUBJECT as PAYMENT

FIELDS = tuple(ScoredTransaction.model_fields)
REQUIRED = ("amount",)
OPTIONAL = tuple(name for name in FIELDS if name not in REQUIRED)
NUMBERS = frozenset({"amount", "hour"})
ABSENT = object()  # A field that the row does not have; null is something else.

_NAMES = ("tx_id", "category", "customer_id", "store")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_NONE_SENT, _UNCLEAR = -1, -2


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that gets no answer; `line` counts from 1, as does a row where there are no lines."""

    line: int
    error: str
    fields: Sequence[Mapping[str, str]] = ()

    @classmethod
    def invalid(cls, line: int, error: ValidationError) -> "Refused":
        """What a model found wrong."""
        fields = field_errors(error)
        return cls(line, fields[0]["reason"], fields)


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows as they came: where each began, and a list a field, with ABSENT or null in it.

    A field that no row has is left out. `refused` are the rows among them that nobody can read.
    """

    lines: Sequence[int]
    values: Mapping[str, list[Any]]
    refused: Sequence[Refused] = ()

    @property
    def last(self) -> int:
        """The last line that is here; 0 where none is."""
        return max([0, *self.lines[-1:], *(row.line for row in self.refused)])

    def after(self, line: int) -> "Block":
        """The rows that begin after this line."""
        begin = bisect_right(self.lines, line)
        return Block(
            self.lines[begin:],
            {name: column[begin:] for name, column in self.values.items()},
            [row for row in self.refused if row.line > line],
        )

    def record(self, n: int) -> dict[str, Any]:
        """The row at `n` as a JSON body would have it."""
        return {name: column[n] for name, column in self.values.items() if column[n] is not ABSENT}


@dataclass(slots=True)
class Transactions:
    """The good rows as columns (n,), as Scorer takes them; and the refused ones, in order."""

    lines: list[int]
    tx_ids: list[str]
    columns: dict[str, NDArray[Any]]
    refused: list[Refused] = field(default_factory=list)


def take(block: Block) -> Transactions:
    """Takes the rows that /score would take."""
    rows = len(block.lines)
    unclear = np.zeros(rows, dtype=bool)
    amounts = _amounts(block.values.get("amount", [ABSENT] * rows), unclear)
    hours = _hours(block, unclear)
    names = {name: _names(name, block, unclear) for name in _NAMES}
    refused = list(block.refused)
    kept = np.ones(rows, dtype=bool)
    for n in np.flatnonzero(unclear).tolist():
        try:
            tx = ScoredTransaction.model_validate(block.record(n))
        except ValidationError as error:
            refused.append(Refused.invalid(block.lines[n], error))
            kept[n] = False
            continue
        amounts[n], hours[n] = tx.amount, tx.hour
        for name, column in names.items():
            column[n] = getattr(tx, name)
    columns = {"amount": amounts, "hour": hours, **names}
    lines = list(block.lines)
    if not kept.all():
        columns = {name: column[kept] for name, column in columns.items()}
        lines = [lines[n] for n in np.flatnonzero(kept).tolist()]
    refused.sort(key=lambda row: row.line)
    return Transactions(lines, columns.pop("tx_id").tolist(), columns, refused)


def take_models(block: Block, model: type[BaseModel]) -> tuple[list[int], list[Any], list[Refused]]:
    """The same for rows of any model, one by one: lines, models, and what was refused."""
    lines, taken, refused = [], [], list(block.refused)
    for n, line in enumerate(block.lines):
        try:
            taken.append(model.model_validate(block.record(n)))
        except ValidationError as error:
            refused.append(Refused.invalid(line, error))
        else:
            lines.append(line)
    refused.sort(key=lambda row: row.line)
    return lines, taken, refused


def _amounts(column: list[Any], unclear: NDArray[np.bool_]) -> NDArray[np.float64]:
    if not set(map(type, column)) <= {float, int}:
        column = [value if type(value) in {float, int} else np.nan for value in column]
    try:
        amounts = np.array(column, dtype=np.float64)
    except OverflowError:  # A whole number past every double.
        amounts = np.array([min(value, 2 * LARGEST_AMOUNT) for value in column], dtype=np.float64)
    unclear |= ~((amounts >= 0) & (amounts <= LARGEST_AMOUNT))
    return amounts


def _hours(block: Block, unclear: NDArray[np.bool_]) -> NDArray[np.int64]:
    rows = len(block.lines)
    sent = block.values.get("hour")
    hours = np.full(rows, _NONE_SENT, dtype=np.int64)
    if sent is not None:
        clear = [
            _NONE_SENT
            if value is None or value is ABSENT
            else value
            if type(value) is int and 0 <= value <= 23
            else _UNCLEAR
            for value in sent
        ]
        hours = np.array(clear, dtype=np.int64)
        unclear |= hours == _UNCLEAR
    times = block.values.get("timestamp")
    if times is None:
        stood_for = np.full(rows, NOON, dtype=np.int64)
    else:
        stood_for = np.array([_hour(value) for value in times], dtype=np.int64)
        unclear |= stood_for == _UNCLEAR
    return np.where(hours == _NONE_SENT, stood_for, hours)


def _hour(value: Any) -> int:
    if value is None or value is ABSENT:
        return NOON
    if type(value) is str and _TIME.fullmatch(value):
        try:
            return datetime.fromisoformat(value).hour
        except ValueError:
            pass
    return _UNCLEAR


def _names(name: str, block: Block, unclear: NDArray[np.bool_]) -> NDArray[Any]:
    column = block.values.get(name)
    default = ScoredTransaction.model_fields[name].default
    made: NDArray[Any] = np.full(len(block.lines), default, dtype=object)
    if column is None:
        return made
    if ABSENT in column:
        column = [default if value is ABSENT else value for value in column]
    made[:] = column
    kinds = set(map(type, column))
    texts = column if kinds == {str} else [value for value in column if type(value) is str]
    short = max(map(len, texts), default=0) <= LONGEST_NAME
    # A thousand rows may share one text of megabytes: it is not joined a thousand times.
    together = "".join(texts) if short else ""
    if (
        short
        and kinds <= ({str} if name == "tx_id" else {str, type(None)})
        and not _CONTROL.search(together)
        and not (name == "tx_id" and PAYMENT in together)
    ):
        return made
    for n, value in enumerate(column):
        unclear[n] |= not (
            (value is None and name != "tx_id")
            or (
                type(value) is str
                and len(value) <= LONGEST_NAME
                and not _CONTROL.search(value)
                and not (name == "tx_id" and value.startswith(PAYMENT))
            )
        )
    return made
