"""What a scorer says of itself every two seconds, for the monitor."""

import time
from collections.abc import Sequence
from threading import Lock
from typing import Literal

from pydantic import ValidationError

from paydesk.storage.stream_scorers import ScorerReport
from paydesk.stream.kafka import StreamError

_EVERY_S = 2.0


class Progress:
    """Counts of one scorer, all about what was committed. Safe to share between threads."""

    def __init__(self, group: str, name: str, topic: str) -> None:
        """Raises StreamError for a name that no report can have."""
        self._who = {"group": group, "name": name, "topic": topic}
        self._decisions = 0
        self._dead_letters = 0
        self._waiting = 0
        self._since = time.monotonic()
        self._decisions_then = 0
        self._slowest_s: float | None = None
        self._lock = Lock()
        try:
            self.report("scoring")
        except ValidationError as error:
            wrong = ", ".join(str(found["loc"][0]) for found in error.errors())
            message = f"The {wrong} of a scorer has 1 to 255 characters, and no control character."
            raise StreamError(f"{message} Give another with --name, --group or --topic.") from error

    def committed(self, decisions: int, dead_letters: int, alert_ages_s: Sequence[float]) -> None:
        """One batch is committed."""
        with self._lock:
            self._decisions += decisions
            self._dead_letters += dead_letters
            if alert_ages_s:
                self._slowest_s = max(self._slowest_s or 0.0, *alert_ages_s)

    def waits(self, messages: int) -> None:
        """So many messages are not scored yet."""
        self._waiting = messages

    @property
    def is_due(self) -> bool:
        """Whether the last report is old."""
        return time.monotonic() - self._since >= _EVERY_S

    def report(self, state: Literal["scoring", "stopped"]) -> ScorerReport:
        """How it stands, and how it went since the last report."""
        with self._lock:
            now = time.monotonic()
            new = self._decisions - self._decisions_then
            made = ScorerReport(
                **self._who,
                state=state,
                decisions=self._decisions,
                dead_letters=self._dead_letters,
                waiting=self._waiting,
                per_second=round(new / max(now - self._since, 0.001), 1),
                to_alert_ms=None
                if self._slowest_s is None
                else round(max(self._slowest_s, 0) * 1000),
            )
            self._since, self._decisions_then, self._slowest_s = now, self._decisions, None
            return made
