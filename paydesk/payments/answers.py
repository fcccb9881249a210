"""What a call to the bank can come to, told apart by one question: may the payment be booked?"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Taken:
    """The bank has the payment: its own reference, its own word for the status, its answer."""

    reference: str
    status: str
    answer: dict[str, Any]
    reason: str = ""


@dataclass(frozen=True)
class Refused:
    """The bank looked at the payment and said no, so it is not booked (by this call)."""

    reason: str
    answer: dict[str, Any] | None = None


@dataclass(frozen=True)
class NotSent:
    """The payment did not get as far as the bank's books, for certain; later it may."""

    reason: str
    retry_after_s: int


@dataclass(frozen=True)
class InDoubt:
    """The payment may be booked: the answer never came, came in part, or made no sense.

    `by_hand`: asking again finds out nothing, and sending again is not safe; a person has to ask.
    """

    reason: str
    retry_after_s: int
    by_hand: bool = False


@dataclass(frozen=True)
class NotKnown:
    """Asked for a payment's status, the bank does not know the payment."""


Initiated = Taken | Refused | NotSent | InDoubt
Asked = Taken | NotKnown | InDoubt
