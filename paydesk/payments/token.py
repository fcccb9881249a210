"""The bank's access token: fetched with the client's credentials, shared by threads, kept fresh."""

import threading
import time
from collections.abc import Callable
from urllib.parse import parse_qsl

from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error

from paydesk.settings import BankSettings

_EARLY_S = 30.0  # Renewed this long before its end (or at half its life), not to end on the way.
_DEFAULT_LIFE_S = 300.0  # Where the bank does not say; RFC 6749 lets it.

PostForm = Callable[[dict[str, str]], str]


class TokenRefusedError(Exception):
    """The token endpoint answered, but with nothing that can be used as a token.

    `retry_after_s`: when asking again may help.
    """

    def __init__(self, reason: str, retry_after_s: int = 1) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(reason)


class TokenKeeper:
    """Hands out the token; one thread fetches it, the others wait for what that one brings.

    oauthlib speaks the protocol. Its companion requests-oauthlib stays out: it writes the client's
    secret and the token to its debug log.
    """

    def __init__(self, bank: BankSettings) -> None:
        self._bank = bank
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0.0

    def token(self, post: PostForm, wait_s: float) -> str:
        """A token that is good for a while; `post` sends a form to the token endpoint.

        `post` returns the body of the answer; `wait_s` is how long another thread's fetch is waited
        for. Raises TokenRefusedError, and what `post` raises.
        """
        if not self._lock.acquire(timeout=wait_s):
            raise TokenRefusedError(f"not within {wait_s:.1f} s")
        try:
            if not self._token or time.monotonic() >= self._renew_at:
                self._fetch(post)
            return self._token
        finally:
            self._lock.release()

    def forget(self, token: str) -> None:
        """The bank refused `token`: the next caller fetches, unless another thread has already."""
        with self._lock:
            if self._token == token:
                self._token = ""

    def _fetch(self, post: PostForm) -> None:
        client = BackendApplicationClient(self._bank.client_id)
        form = client.prepare_request_body(
            include_client_id=True, client_secret=self._bank.client_secret.get_secret_value()
        )
        asked_at = time.monotonic()
        try:
            answer = client.parse_request_body_response(post(dict(parse_qsl(form))))
            life_s = float(answer.get("expires_in") or _DEFAULT_LIFE_S)
            self._token = str(answer["access_token"])
        except (OAuth2Error, ValueError, TypeError, KeyError, AttributeError) as error:
            # Named by its class only: the text of the answer may hold the token.
            raise TokenRefusedError(type(error).__name__) from None
        self._renew_at = asked_at + max(life_s - _EARLY_S, life_s / 2)
