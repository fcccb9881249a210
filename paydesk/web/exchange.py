"""What is known of one request while it is answered: its id, its route, who sent it."""

import re
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

from starlette.requests import Request
from starlette.types import Scope

from paydesk.storage.identifiers import random_hex

_SCOPE_KEY = "paydesk.exchange"
# Letters that no e-mail address and no name of a person needs: the id goes into logs as it is.
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
UNROUTED = "(none)"


@dataclass(slots=True)
class Exchange:
    """One request; `route` is the template of its path, `key_id` the API key's public part."""

    request_id: str
    began: float = field(default_factory=perf_counter)
    route: str = UNROUTED
    key_id: str | None = None


def begin(scope: Scope) -> Exchange:
    """The exchange of a request that has just come; takes over its X-Request-ID if it is sane."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    text = given.decode("latin-1")
    exchange = Exchange(text if _SANE_ID.fullmatch(text) else random_hex())
    scope[_SCOPE_KEY] = exchange
    return exchange


def exchange_of(request: Request) -> Exchange:
    """The exchange that `begin` put into the request's scope."""
    return cast(Exchange, request.scope[_SCOPE_KEY])
