"""The bank's rules as data: read from TOML, evaluated on one transaction or on whole columns."""

import operator
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Annotated, Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from paydesk.errors import PaydeskError
from paydesk.risk.transaction import Level

FieldName = Literal["amount", "hour", "category", "store", "customer_id"]
SHIPPED = Path(__file__).with_name("rules.toml")

_NUMBERS = {"amount", "hour"}
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


class RulesError(PaydeskError):
    """The file of rules cannot be used; the message names file, line and field."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Condition(_Part):
    """One comparison of a transaction's field with a value."""

    field: FieldName
    is_: Literal[">", ">=", "<", "<=", "==", "!="] = Field(alias="is")
    value: Annotated[float, Field(allow_inf_nan=False)] | str

    @model_validator(mode="after")
    def _value_fits_field(self) -> Self:
        if (self.field in _NUMBERS) == isinstance(self.value, str):
            kind = "a number" if self.field in _NUMBERS else "a text"
            message = f"{self.field} is compared with {kind}, not with {self.value!r}"
            raise ValueError(message)
        if self.field not in _NUMBERS and self.is_ not in {"==", "!="}:
            message = f"{self.field} is compared with == or !=, not with {self.is_}"
            raise ValueError(message)
        return self


class Rule(_Part):
    """Points for a transaction on which every condition holds."""

    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    points: int = Field(ge=1)
    when: list[Condition] = Field(min_length=1)
    reason: str = Field(min_length=1)

    @model_validator(mode="after")
    def _reason_can_be_filled(self) -> Self:
        fields = get_args(FieldName)
        try:
            parts = list(Formatter().parse(self.reason))
        except ValueError as error:
            message = f"reason has a brace too many: {error}"
            raise ValueError(message) from error
        for _, field, form, conversion in parts:
            if field is not None and (field not in fields or form or conversion):
                message = f"reason may have {{field}} with one of {', '.join(fields)}, plain"
                raise ValueError(message)
        return self

    def explain(self, fields: Mapping[str, Any]) -> str:
        """The reason with the transaction's own values."""
        return self.reason.format_map(
            {name: _shown(name, fields[name]) for name in self._named_fields}
        )

    @cached_property
    def _named_fields(self) -> tuple[str, ...]:
        return tuple(field for _, field, _, _ in Formatter().parse(self.reason) if field)

    @cached_property
    def label(self) -> str:
        """How the rule is named in answers."""
        return f"{self.id}: {self.text}"

    def holds(self, fields: Mapping[str, Any]) -> Any:
        """Whether all conditions hold: a bool, or an array of bool (n,) for columns."""
        held: Any = True
        for compare, field, value in self._comparisons:
            held = compare(fields[field], value) & held
        return held

    @cached_property
    def _comparisons(self) -> tuple[tuple[Callable[[Any, Any], Any], str, Any], ...]:
        # Looked up once, not with every transaction.
        return tuple((_OPERATORS[one.is_], one.field, one.value) for one in self.when)


class _File(_Part):
    levels: dict[Literal["MEDIUM", "HIGH", "CRITICAL"], int]
    rule: list[Rule]


@dataclass(frozen=True, slots=True)
class Points:
    """What the rules say of one transaction."""

    points: int
    level: Level
    triggered: list[Rule]


class RuleBook:
    """All rules, and the points at which each level begins."""

    def __init__(self, rules: list[Rule], levels: Mapping[str, int]) -> None:
        self.rules = tuple(rules)
        self._floors = [(Level[name], levels[name]) for name in ("CRITICAL", "HIGH", "MEDIUM")]

    @classmethod
    def read(cls, path: Path = SHIPPED) -> "RuleBook":
        """The rules of the TOML file at `path`. Raises RulesError."""
        try:
            text = path.read_text(encoding="utf-8")
            file = _File.model_validate(tomllib.loads(text))
        except OSError as error:
            message = f"The rules file {path} cannot be read: {error.strerror}."
            raise RulesError(message) from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            message = f"The rules file {path} is not valid TOML: {error}."
            raise RulesError(message) from error
        except ValidationError as error:
            raise RulesError(_explain(path, text, error)) from error
        labels = [rule.id for rule in file.rule]
        if twice := {label for label in labels if labels.count(label) > 1}:
            message = f"The rules file {path} has the id {sorted(twice)[0]} twice."
            raise RulesError(message)
        floors = file.levels
        if set(floors) != {"MEDIUM", "HIGH", "CRITICAL"} or not (
            0 < floors["MEDIUM"] < floors["HIGH"] < floors["CRITICAL"]
        ):
            message = f"The rules file {path} needs [levels] with 0 < MEDIUM < HIGH < CRITICAL."
            raise RulesError(message)
        return cls(file.rule, {str(name): floor for name, floor in floors.items()})

    def judge(self, fields: Mapping[str, Any]) -> Points:
        """The points of one transaction, given its fields by name."""
        triggered = [rule for rule in self.rules if rule.holds(fields)]
        points = sum(rule.points for rule in triggered)
        return Points(points, self._level(points), triggered)

    def judge_columns(
        self, columns: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        """Which rules hold (n, rules), the points (n,) and the levels (n,) of n transactions.

        `columns` has one array (n,) a field: amount float64, hour int64, texts as objects.
        """
        rows = len(columns["amount"])
        held: NDArray[np.bool_] = np.zeros((rows, len(self.rules)), dtype=bool)
        for position, rule in enumerate(self.rules):
            held[:, position] = rule.holds(columns)
        weights = np.array([rule.points for rule in self.rules], dtype=np.int64)
        points: NDArray[np.int64] = (held @ weights).astype(np.int64)
        levels: NDArray[np.int64] = np.zeros(rows, dtype=np.int64)
        for level, floor in reversed(self._floors):
            levels[points >= floor] = level
        return held, points, levels

    def _level(self, points: int) -> Level:
        for level, floor in self._floors:
            if points >= floor:
                return level
        return Level.LOW


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "unknown"
    return f"{value:.2f}" if name == "amount" else str(value)


def _explain(path: Path, text: str, error: ValidationError) -> str:
    first = error.errors()[0]
    place = [str(step) for step in first["loc"]]
    line = 1
    if len(place) > 1 and place[0] == "rule":
        headers = [n for n, row in enumerate(text.splitlines(), 1) if row.strip() == "[[rule]]"]
        line = headers[int(place[1])] if int(place[1]) < len(headers) else 1
    where = ".".join(place) or "the file"
    return f"The rules file {path}, line {line}: {where}: {first['msg']}."
