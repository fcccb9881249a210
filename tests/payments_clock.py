"""A clock that a test moves on."""

from paydesk.storage.database import now_us


class Clock:
    """Microseconds since 1970: the real time, and what `advance` added."""

    def __init__(self) -> None:
        self._ahead_us = 0

    def __call__(self) -> int:
        return now_us() + self._ahead_us

    def advance(self, seconds: float) -> None:
        self._ahead_us += round(seconds * 1_000_000)
