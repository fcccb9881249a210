"""Which bank a payment was made at, so that another bank is never asked to make it again."""

import hashlib
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

from paydesk.settings import BankSettings

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class BankIdentity:
    """A bank as the ledger knows it; a key given to one bank means nothing to another."""

    fingerprint: str
    sandbox: bool

    @classmethod
    def of(cls, bank: BankSettings) -> "BankIdentity":
        """The identity of the configured bank: where it is, what is called, and as which client."""
        base = bank.base_url.rstrip("/")
        if bank.sandbox and is_loopback(base):
            # The local sandbox gets another port at every start, and keeps its books.
            parts = urlsplit(base)
            base = f"{parts.scheme}://{parts.hostname}{parts.path}"
        content = json.dumps([base, bank.initiate_path, bank.client_id])
        return cls(hashlib.sha256(content.encode()).hexdigest(), bank.sandbox)


def is_loopback(url: str) -> bool:
    """Whether `url` leads to this machine, whatever a name server says."""
    try:
        return urlsplit(url).hostname in _LOOPBACK
    except ValueError:
        return False
