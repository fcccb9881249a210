"""A dead letter: a message that is no transaction, with its reason, position and own bytes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from paydesk.stream.messages import KEY_LIMIT, Refusal

# A message of up to a MiB, which a topic takes by default, is kept whole.
LETTER_LIMIT = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Position:
    """Where a message stands, and since when."""

    topic: str
    partition: int
    offset: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class Letter:
    """A message that was refused.

    `value` has its first LETTER_LIMIT bytes; `size` says how many it had. A key that is longer
    than any customer's id is left out: it alone may be more than a broker takes.
    """

    kind: str
    reason: str
    position: Position
    size: int
    key: bytes | None
    value: bytes

    @classmethod
    def of(
        cls, refusal: Refusal, position: Position, key: bytes | None, value: bytes | None
    ) -> Self:
        """The letter about a message."""
        whole = value or b""
        kept = None if key is not None and len(key) > KEY_LIMIT else key
        return cls(refusal.kind, refusal.reason, position, len(whole), kept, whole[:LETTER_LIMIT])

    @classmethod
    def read(
        cls,
        headers: Iterable[tuple[str, bytes | None]],
        at_ms: int,
        key: bytes | None,
        value: bytes | None,
    ) -> Self:
        """The letter that a message of the topic of dead letters is."""
        said = dict(headers)
        whole = value or b""

        def text(name: str) -> str:
            return (said.get(f"paydesk-{name}") or b"").decode("utf-8", "replace")

        def number(name: str, default: int) -> int:
            return int(text(name)) if text(name).isdecimal() else default

        position = Position(text("topic"), number("partition", 0), number("offset", 0), at_ms)
        size = number("size", len(whole))
        return cls(text("kind"), text("reason"), position, size, key, whole)

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        """What is said of it, beside its own bytes."""
        said = {
            "kind": self.kind,
            "reason": self.reason,
            "topic": self.position.topic,
            "partition": self.position.partition,
            "offset": self.position.offset,
            "size": self.size,
        }
        return [(f"paydesk-{name}", str(value).encode()) for name, value in said.items()]

    @property
    def is_whole(self) -> bool:
        """Whether all its bytes are here."""
        return self.size == len(self.value)

    def as_json(self) -> dict[str, Any]:
        """As `paydesk stream dead show --json` writes it: bytes that are no UTF-8 as \\xNN."""
        at = datetime.fromtimestamp(self.position.at_ms / 1000, UTC)
        return {
            "kind": self.kind,
            "reason": self.reason,
            "topic": self.position.topic,
            "partition": self.position.partition,
            "offset": self.position.offset,
            "at": at.isoformat(timespec="milliseconds"),
            "size": self.size,
            "key": None if self.key is None else self.key.decode("utf-8", "backslashreplace"),
            "value": self.value.decode("utf-8", "backslashreplace"),
        }
