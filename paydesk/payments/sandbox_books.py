"""The sandbox bank's books: tokens, keys and bookings, in a SQLite file of their own."""

import hashlib
import json
import secrets
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tokens (token TEXT PRIMARY KEY, ends_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS keys (
    key TEXT PRIMARY KEY, digest TEXT NOT NULL, reference TEXT NOT NULL, answer TEXT NOT NULL,
    seen_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS bookings (
    reference TEXT PRIMARY KEY, key TEXT NOT NULL, end_to_end TEXT NOT NULL,
    creditor TEXT NOT NULL, debtor TEXT NOT NULL, amount TEXT NOT NULL, currency TEXT NOT NULL,
    first_status TEXT NOT NULL, later_status TEXT NOT NULL, changes_at REAL NOT NULL,
    booked_at REAL NOT NULL, replays INTEGER NOT NULL DEFAULT 0
);
"""


class KeyReusedError(Exception):
    """The same key came with another body."""


@dataclass(frozen=True)
class Booking:
    """One payment as the sandbox booked it; `amount` is the text that came over the wire."""

    reference: str
    key: str
    end_to_end: str
    creditor: str
    debtor: str
    amount: str
    currency: str
    status: str
    replays: int

    def as_dict(self) -> dict[str, Any]:
        """For the route that shows the books."""
        return asdict(self)


class Books:
    """What the sandbox knows, kept over a restart. Used from one thread (or in turns).

    `key_life_s`: how long a key is remembered; after that it books anew, as the real bank does.
    """

    def __init__(
        self, path: Path | str, key_life_s: float = 86_400.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._key_life_s = key_life_s
        self._clock = clock
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        self.tokens_given = 0

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def new_token(self, life_s: float) -> str:
        """An access token, good for `life_s` seconds."""
        token = secrets.token_urlsafe(24)
        with self._writing() as connection:
            connection.execute("DELETE FROM tokens WHERE ends_at < ?", (self._clock(),))
            connection.execute("INSERT INTO tokens VALUES (?, ?)", (token, self._clock() + life_s))
        self.tokens_given += 1
        return token

    def knows_token(self, token: str) -> bool:
        """Whether `token` was given out and has not ended."""
        found = self._connection.execute(
            "SELECT 1 FROM tokens WHERE token = ? AND ends_at > ?", (token, self._clock())
        )
        return found.fetchone() is not None

    def tokens(self) -> list[str]:
        """The tokens that are known now, for whoever checks that they are nowhere else."""
        found = self._connection.execute("SELECT token FROM tokens")
        return [str(token) for (token,) in found.fetchall()]

    def revoke_tokens(self) -> None:
        """Forgets every token."""
        with self._writing() as connection:
            connection.execute("DELETE FROM tokens")

    def book(
        self,
        key: str,
        body: bytes,
        *,
        first_status: str = "PDNG",
        later_status: str = "ACSC",
        changes_after_s: float = 5.0,
    ) -> tuple[dict[str, Any], bool]:
        """The answer to an instruction (JSON), and whether it is a replay of an earlier one.

        One key books once while it is remembered. Raises KeyReusedError for another body.
        """
        digest = hashlib.sha256(body).hexdigest()
        now = self._clock()
        with self._writing() as connection:
            connection.execute("DELETE FROM keys WHERE seen_at < ?", (now - self._key_life_s,))
            known = connection.execute(
                "SELECT digest, answer, reference FROM keys WHERE key = ?", (key,)
            ).fetchone()
            if known is not None:
                if known[0] != digest:
                    raise KeyReusedError
                connection.execute(
                    "UPDATE bookings SET replays = replays + 1 WHERE reference = ?", (known[2],)
                )
                return json.loads(known[1]), True
            instruction = json.loads(body, parse_float=str, parse_int=str)
            reference = str(uuid.uuid4())
            answer = {"paymentRequestId": reference, "transactionStatus": first_status}
            connection.execute(
                "INSERT INTO keys VALUES (?, ?, ?, ?, ?)",
                (key, digest, reference, json.dumps(answer), now),
            )
            connection.execute(
                "INSERT INTO bookings VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
                (
                    reference,
                    key,
                    instruction["paymentIdentification"]["endToEndIdentification"],
                    instruction["creditor"]["name"],
                    instruction["debtorAccountId"]["name"],
                    instruction["instructedAmount"]["amount"],
                    instruction["instructedAmount"]["currency"],
                    first_status,
                    later_status,
                    now + changes_after_s,
                    now,
                ),
            )
        return answer, False

    def status(self, reference: str) -> str | None:
        """The status of a booking at this time, or None when there is none."""
        found = [booking.status for booking in self.bookings(reference)]
        return found[0] if found else None

    def change_status(self, reference: str, status: str) -> bool:
        """Gives a booking another status from now on; False when there is no such booking."""
        with self._writing() as connection:
            changed = connection.execute(
                "UPDATE bookings SET later_status = ?, changes_at = ? WHERE reference = ?",
                (status, self._clock(), reference),
            )
            return changed.rowcount == 1

    def bookings(self, reference: str | None = None) -> list[Booking]:
        """Every booking, or only the one with `reference`, oldest first."""
        rows = self._connection.execute(
            "SELECT reference, key, end_to_end, creditor, debtor, amount, currency, "
            "CASE WHEN changes_at <= :now THEN later_status ELSE first_status END, replays "
            "FROM bookings WHERE :reference IS NULL OR reference = :reference "
            "ORDER BY booked_at, reference",
            {"now": self._clock(), "reference": reference},
        )
        return [Booking(*row) for row in rows.fetchall()]

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield self._connection
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
