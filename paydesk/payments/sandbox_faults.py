"""The faults that the sandbox bank can have, and which one strikes next."""

import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Call = Literal["token", "initiate", "status"]
Effect = Literal["delay", "problem", "drop", "half", "body", "revoke", "booking"]

_ALL: Final = frozenset[Call]({"token", "initiate", "status"})
_INITIATE: Final = frozenset[Call]({"initiate"})


@dataclass(frozen=True)
class Fault:
    """One way to fail. `after`: it strikes when the bank has done its work (booked the payment)."""

    name: str
    what: str
    effect: Effect
    after: bool = False
    calls: frozenset[Call] = _ALL
    status: int = 200
    body: bytes = b""
    delay_s: float = 0.0
    first_status: str = "PDNG"
    later_status: str = "ACSC"


FAULTS: Final[Mapping[str, Fault]] = {
    fault.name: fault
    for fault in (
        Fault("slow", "answers late, but in time", "delay", delay_s=0.3),
        Fault("stalled_before", "books after the caller has gone", "delay", delay_s=3.0),
        Fault("stalled_after", "books, then answers too late", "delay", after=True, delay_s=3.0),
        Fault("bad_request", "refuses: 400", "problem", status=400, calls=_INITIATE),
        Fault("refused", "refuses: 422", "problem", status=422, calls=_INITIATE),
        Fault("too_many", "asks for fewer requests: 429", "problem", status=429),
        Fault("error_before", "fails before it books: 500", "problem", status=500),
        Fault("error_after", "books, then fails: 500", "problem", after=True, status=500),
        Fault("bad_gateway", "something before it fails: 502", "problem", status=502),
        Fault("unavailable", "is down for a moment: 503", "problem", status=503),
        Fault("gateway_timeout", "books, but 504", "problem", after=True, status=504),
        Fault("drop_before", "hangs up before it books", "drop"),
        Fault("drop_after", "books, then hangs up", "drop", after=True),
        Fault("half_answer", "books, then hangs up in its answer", "half", after=True),
        Fault("wrong_json", "books, answers a JSON list", "body", after=True, body=b"[1, 2]"),
        Fault("no_json", "books, answers HTML", "body", after=True, body=b"<html>OK</html>"),
        Fault("no_reference", "books, names no reference", "body", after=True, body=b"{}"),
        Fault("expired_token", "forgets its tokens: 401", "revoke"),
        Fault(
            "odd_status",
            "books, with a status that nobody knows",
            "booking",
            calls=_INITIATE,
            first_status="WXYZ",
        ),
        Fault(
            "rejects_now",
            "answers well, but with RJCT",
            "booking",
            calls=_INITIATE,
            first_status="RJCT",
            later_status="RJCT",
        ),
        Fault(
            "rejects_later",
            "answers PDNG, and RJCT when asked later",
            "booking",
            calls=_INITIATE,
            later_status="RJCT",
        ),
    )
}


class FaultPlan:
    """Which fault strikes a call: the one asked for, the next ordered one, or one by chance.

    `rate` (0 to 1) of all calls fail by chance, as `seed` would have it.
    """

    def __init__(self, rate: float = 0.0, seed: int | None = None) -> None:
        self.rate = rate
        self._chance = random.Random(seed)  # noqa: S311 (no secret depends on it)
        self._ordered: dict[Call, deque[Fault]] = {
            "token": deque(),
            "initiate": deque(),
            "status": deque(),
        }

    def order(self, fault: Fault, call: Call, times: int) -> None:
        """The next `times` calls of this kind fail so."""
        self._ordered[call].extend([fault] * times)

    def clear(self) -> None:
        """No ordered faults any more, and none by chance."""
        self.rate = 0.0
        for ordered in self._ordered.values():
            ordered.clear()

    def next(self, call: Call, asked_for: str | None) -> Fault | None:
        """The fault for this call, or None."""
        if asked_for is not None and asked_for in FAULTS:
            return FAULTS[asked_for]
        if self._ordered[call]:
            return self._ordered[call].popleft()
        if self._chance.random() >= self.rate:
            return None
        return self._chance.choice([fault for fault in FAULTS.values() if call in fault.calls])
