"""The keys in force, kept in memory: a request costs a digest, a revocation seconds."""

import logging
import threading
from hmac import compare_digest

from paydesk.storage.api_keys import ApiKey, ApiKeys, digest, key_id_of
from paydesk.web.rate import Pace

REFRESHED_EVERY_S = 2.0
_log = logging.getLogger(__name__)


class Keyring:
    """Knows the keys in force; reads them anew every two seconds.

    While the database does not answer, the keys last read stay in force.
    """

    def __init__(self, keys: ApiKeys, rate_per_s: float | None) -> None:
        self._keys = keys
        self._rate_per_s = rate_per_s
        self._known: dict[str, ApiKey] = {}
        self._paces: dict[str, Pace] = {}
        self._closing = threading.Event()
        self._refresh()
        self._thread = threading.Thread(target=self._run, name="keyring", daemon=True)
        self._thread.start()

    def find(self, key: str) -> ApiKey | None:
        """The key in force whose text this is, or None."""
        known = self._known.get(key_id_of(key))
        if known is None or not compare_digest(digest(key), known.digest):
            return None
        return known

    def wait_s(self, key: ApiKey) -> float:
        """The seconds until this key may send again; 0 when it may now, which then counts."""
        if self._rate_per_s is None:
            return 0.0
        pace = self._paces.get(key.key_id)
        if pace is None:
            pace = self._paces[key.key_id] = Pace(self._rate_per_s)
        return pace.wait_s()

    def close(self) -> None:
        """Ends the reading."""
        self._closing.set()
        self._thread.join(REFRESHED_EVERY_S)

    def _run(self) -> None:
        while not self._closing.wait(REFRESHED_EVERY_S):
            try:
                self._refresh()
            except Exception:  # noqa: BLE001 (logged, and tried again)
                # Whatever it is: a thread that ended here would leave revoked keys in force.
                _log.exception("The keys could not be read anew; the ones known stay in force.")

    def _refresh(self) -> None:
        self._known = {key.key_id: key for key in self._keys.in_force()}
