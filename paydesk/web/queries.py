"""Reads the query of a list: its filters, its cursor, its limit. A misspelt name is refused."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request

from paydesk.payments.payment import State
from paydesk.risk.transaction import Level
from paydesk.storage.decision_history import DecisionFilter, Position
from paydesk.web.answers import LevelName
from paydesk.web.bodies import validated
from paydesk.web.errors import BadRequestError

LONGEST_PAGE = 200
CURSOR = r"^[0-9]{1,18}\.[0-9]{1,18}$"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _digits(text: Any) -> Any:
    if isinstance(text, str) and not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ValueError(f"{text[:20]!r} is not a whole number.")
    return text


def _dated(text: Any) -> Any:
    if isinstance(text, str) and not _DATE.match(text):
        raise ValueError(
            f"{text[:40]!r} is not a time: send 2026-03-01 or 2026-03-01T12:00:00Z "
            "(a + has to be sent as %2B)."
        )
    return text


_Query = TypeVar("_Query", bound=BaseModel)
Limit = Annotated[int, Field(ge=1, le=LONGEST_PAGE), BeforeValidator(_digits)]
Moment = Annotated[datetime, BeforeValidator(_dated)]


class Which(BaseModel):
    """Which decisions."""

    model_config = ConfigDict(extra="forbid")

    level: LevelName | None = Field(default=None, description="Decisions of this level.")
    store: str | None = Field(
        default=None, max_length=200, pattern=r"^[^\x00]*$", description="Of this store."
    )
    since: Moment | None = Field(
        default=None, description="Recorded then or later; UTC unless it says otherwise."
    )
    until: Moment | None = Field(default=None, description="Recorded before then.")

    @property
    def filter(self) -> DecisionFilter:
        """The same for the log."""
        return DecisionFilter(
            level=None if self.level is None else int(Level[self.level]),
            store=self.store,
            since_us=_us(self.since),
            until_us=_us(self.until),
        )


class WhichPage(Which):
    """Which decisions, and which page of them."""

    cursor: str | None = Field(default=None, pattern=CURSOR, description="The last next_cursor.")
    limit: Limit = 50

    @property
    def before(self) -> Position | None:
        """Where the page begins."""
        if self.cursor is None:
            return None
        recorded_at_us, _, seq = self.cursor.partition(".")
        return Position(int(recorded_at_us), int(seq))


class Window(BaseModel):
    """How far back to count."""

    model_config = ConfigDict(extra="forbid")

    window: Literal["hour", "day", "week", "month"] = Field(
        default="day", description="The time until now that is counted; a month has 30 days."
    )


class PaymentQuery(BaseModel):
    """Which page of payments."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, description="The last next_cursor.")
    limit: Limit = 50
    state: State | None = Field(default=None, description="Payments in this state.")


class Name(BaseModel):
    """Whom to greet."""

    name: str | None = Field(default=None, pattern=r"^[^\x00]*$", description="Anna, say.")


def query_of(request: Request, model: type[_Query]) -> _Query:
    """The request's query as `model`. Raises BadRequestError."""
    pairs = request.query_params.multi_items()
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            message = f"The query names {name[:40]!r} twice; send it once."
            raise BadRequestError(message, [{"field": name[:40], "reason": message}])
    return validated(dict(pairs), model)


def _us(moment: datetime | None) -> int | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(microseconds=1)
