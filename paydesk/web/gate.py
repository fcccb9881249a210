"""Who may come in: by API key, from this machine only, or anyone, as the settings say."""

from collections.abc import Collection
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal

from starlette.requests import Request

from paydesk.errors import PaydeskError
from paydesk.web.exchange import exchange_of
from paydesk.web.keyring import Keyring

# "open": no key; "any": a key with any scope; else a key with that scope.
Need = Literal["open", "any", "score", "read", "pay"]

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_NAMED = {"score": "score", "read": "read e-mails", "pay": "pay"}


class KeyMissingError(PaydeskError):
    """The route needs a key, and none that is in force came."""


class KeyScopeError(PaydeskError):
    """The key may not do this."""


class ForeignError(PaydeskError):
    """The request comes from a machine or a web page that is not let in."""


class TooManyRequestsError(PaydeskError):
    """The key has used up its rate."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class KeyGate:
    """Lets in who has a key for it."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def let_in(self, request: Request, need: Need) -> None:
        """Raises KeyMissingError, KeyScopeError or TooManyRequestsError."""
        if need == "open":
            return
        scheme, _, text = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not text:
            message = (
                "This needs an API key: send `Authorization: Bearer <key>`. Whoever runs this "
                "service makes one with `paydesk keys new`."
            )
            raise KeyMissingError(message)
        key = self._keyring.find(text.strip())
        if key is None:
            message = "The API key is not one in force: it was revoked, or is not whole."
            raise KeyMissingError(f"{message} Ask whoever runs this service for a new one.")
        exchange_of(request).key_id = key.key_id
        if wait_s := self._keyring.wait_s(key):
            retry_s = int(wait_s) + 1
            message = f"The key {key.key_id} sends more than its rate. Wait {retry_s} s."
            raise TooManyRequestsError(message, retry_s)
        if need != "any" and need not in key.scopes:
            message = f"The key {key.key_id} may not {_NAMED[need]}: its scopes are"
            scopes = " ".join(sorted(key.scopes))
            raise KeyScopeError(f"{message} {scopes}. A key with --scope {need} may.")


class KeylessGate:
    """Lets in without a key: anyone, or programs on this machine only.

    Without a key nothing tells a person's own program from a web page that the person happens to
    look at. So pages of other origins are refused, and, where only this machine is meant, names
    that a foreign page could have made point here.
    """

    def __init__(self, *, local_only: bool, origins: Collection[str]) -> None:
        self._local_only = local_only
        self._origins = frozenset(origins)

    def let_in(self, request: Request, need: Need) -> None:
        """Raises ForeignError."""
        del need
        host = request.headers.get("host", "")
        if self._local_only:
            if request.client is None or not _loopback(request.client.host):
                message = "This Paydesk serves its own machine only: PAYDESK_ACCESS is 'local'."
                raise ForeignError(f"{message} To serve others, give them keys.")
            if host.rpartition(":")[0] not in _LOCAL_NAMES and host not in _LOCAL_NAMES:
                message = f"The Host {host[:100]!r} is not this machine: use 127.0.0.1."
                raise ForeignError(message)
        origin = request.headers.get("origin")
        if origin is None or request.method in {"GET", "HEAD"} or origin in self._origins:
            return
        # Elsewhere than on this machine the Host proves nothing: a page may make its own name point
        # here. Our own pages send nothing.
        if not self._local_only or origin.partition("://")[2] != host:
            message = f"Pages of {origin[:100]!r} may not send here: PAYDESK_ALLOWED_ORIGINS"
            raise ForeignError(f"{message} does not name it.")


Gate = KeyGate | KeylessGate


@lru_cache(maxsize=1024)
def _loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
