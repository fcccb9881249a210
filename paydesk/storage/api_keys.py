"""API keys: made, listed and revoked in the database, which has their digests only."""

import hashlib
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import Engine, Row, insert, select, update

from paydesk.errors import PaydeskError
from paydesk.storage.database import answering, now_us, writing
from paydesk.storage.tables import api_keys

Scope = Literal["score", "read", "pay"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

_SECRET_BYTES = 32
_NAME_LENGTH = 100
_UNREACHABLE = "The keys cannot be reached in the database. Try again."
_log = logging.getLogger(__name__)


class ApiKeyError(PaydeskError):
    """A key cannot be made or revoked as asked."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the database knows it; `digest` is the SHA-256 of the whole key."""

    key_id: str
    name: str
    digest: bytes
    scopes: frozenset[str]
    created_at_us: int
    revoked_at_us: int | None


def digest(key: str) -> bytes:
    """What is kept of a key. Plain SHA-256: there are 256 bits of chance in it, not a password."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def key_id_of(key: str) -> str:
    """The public part of a key: `pd_<id>_<secret>`; empty for a text that is no key."""
    prefix, _, rest = key.partition("_")
    key_id, _, secret = rest.partition("_")
    return key_id if prefix == "pd" and secret else ""


class ApiKeys:
    """The table of keys. Its methods block, and raise DatabaseUnavailableError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def new(self, name: str, scopes: Iterable[str]) -> tuple[ApiKey, str]:
        """A new key and its text, which is not kept. Raises ApiKeyError."""
        wanted = frozenset(scopes)
        if unknown := sorted(wanted - set(SCOPES)):
            message = f"There is no scope {unknown[0]!r}; there are {', '.join(SCOPES)}."
            raise ApiKeyError(message)
        if not wanted:
            message = f"A key needs a scope: --scope with one of {', '.join(SCOPES)}."
            raise ApiKeyError(message)
        if not name.strip() or len(name) > _NAME_LENGTH:
            message = f"A key's name has 1 to {_NAME_LENGTH} characters; this one has {len(name)}."
            raise ApiKeyError(message)
        key_id = secrets.token_hex(6)
        text = f"pd_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        made = ApiKey(key_id, name, digest(text), wanted, now_us(), None)
        with answering(_UNREACHABLE), writing(self._engine) as connection:
            connection.execute(
                insert(api_keys).values(
                    key_id=made.key_id,
                    name=made.name,
                    digest=made.digest.hex(),
                    scopes=" ".join(sorted(made.scopes)),
                    created_at_us=made.created_at_us,
                )
            )
        return made, text

    def revoke(self, key_id: str) -> None:
        """Ends a key for good; one that was ended stays so. Raises ApiKeyError."""
        mine = api_keys.c.key_id == key_id
        with answering(_UNREACHABLE), writing(self._engine) as connection:
            known = connection.execute(select(api_keys.c.key_id).where(mine)).first()
            connection.execute(
                update(api_keys)
                .where(mine, api_keys.c.revoked_at_us.is_(None))
                .values(revoked_at_us=now_us())
            )
        if known is None:
            message = f"There is no key {key_id[:40]!r}. `paydesk keys list` shows them."
            raise ApiKeyError(message)

    def all(self) -> list[ApiKey]:
        """Every key, oldest first; a row that is none is left out, and said in the log."""
        with answering(_UNREACHABLE), self._engine.connect() as connection:
            rows = connection.execute(select(api_keys).order_by(api_keys.c.created_at_us)).all()
        return [key for row in rows if (key := _key(row)) is not None]

    def in_force(self) -> list[ApiKey]:
        """The keys that were not revoked."""
        return [key for key in self.all() if key.revoked_at_us is None]


def _key(row: Row[tuple[object, ...]]) -> ApiKey | None:
    """The key of a row; None for one that something else than Paydesk wrote."""
    try:
        return ApiKey(
            key_id=row.key_id,
            name=row.name,
            digest=bytes.fromhex(row.digest),
            scopes=frozenset(row.scopes.split()),
            created_at_us=row.created_at_us,
            revoked_at_us=row.revoked_at_us,
        )
    except (ValueError, TypeError, AttributeError):
        # Without its key_id: nothing is known of what is in such a row.
        _log.warning("A row of the table of API keys is no key and is left out.")
        return None
