"""One operation of the HTTP contract, as data: what routes, gate and OpenAPI document read."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.types import ASGIApp

from paydesk.web.answers import Problem
from paydesk.web.application import Application
from paydesk.web.gate import Need

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

# A response is an ASGI app.
Handler = Callable[[Request, Application], Awaitable[ASGIApp]]


@dataclass(frozen=True)
class Answer:
    """A good answer: its model, or its media type where it is no JSON."""

    says: str
    model: type[BaseModel] | None = None
    media: tuple[str, ...] = (JSON,)
    example: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Operation:
    """A method of a path. `errors` are those that not every operation of its kind has.

    `rows` is the model of each row, where the body has many. `says` and `error_headers` tell, by
    status, what an error means here and which headers it may have; `problem` is its model. Headers
    are described by their names.
    """

    handler: Handler
    need: Need
    summary: str
    answer: Answer
    body: type[BaseModel] | None = None
    any_object: bool = False
    rows: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    errors: tuple[int, ...] = ()
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    leads_to: dict[str, tuple[str, str]] = field(default_factory=dict)
    problem: type[Problem] = Problem
    says: Mapping[int, str] = field(default_factory=dict)
    error_headers: Mapping[int, Mapping[str, str]] = field(default_factory=dict)


Contract = Mapping[str, Mapping[str, Operation]]
