"""The client of the bank's Payment Initiation API: an instruction in, an answer out."""

import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import quote

import orjson
import requests
import tenacity
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from urllib3 import Timeout
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from paydesk.payments.answers import (
    Asked,
    InDoubt,
    Initiated,
    NotKnown,
    NotSent,
    Refused,
    Taken,
)
from paydesk.payments.breaker import Breaker, BreakerOpenError, CallFailedError
from paydesk.payments.deadline import Deadline, DeadlineAdapter
from paydesk.payments.request_ids import carried
from paydesk.payments.token import TokenKeeper, TokenRefusedError
from paydesk.settings import BankSettings

_BODY_LIMIT = 1 << 20
_POOL = 32
_REASON_LENGTH = 400
_CREDENTIALS_RETRY_S = 60
_SHORTEST_TRY_S = 0.05
SANDBOX_HEADER = "X-Paydesk-Sandbox"
_PRINTED = "^[!-~]+$"  # No space, no control character: neither a log nor a database stumbles.

# Answers that say nothing on whether the payment is booked: timeouts, a key in use, too early.
_UNCLEAR = frozenset({408, 409, 425})

A = TypeVar("A", Initiated, Asked)


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _InitiateAnswer(_Answer):
    reference: str = Field(alias="paymentRequestId", pattern=_PRINTED, max_length=140)
    status: str = Field(alias="transactionStatus", pattern=_PRINTED, max_length=35)


class _StatusReport(_Answer):
    status: str = Field(alias="transactionStatus", pattern=_PRINTED, max_length=35)
    code: str | None = Field(default=None, alias="statusReasonCode")
    reason: str | None = Field(default=None, alias="statusReasonAdditionalInformation")


class _StatusAnswer(_Answer):
    report: _StatusReport = Field(alias="paymentInitiationStatusReport")


class _NoReplyError(CallFailedError):
    """No answer that says anything; `never_sent` when the request cannot have reached the bank."""

    def __init__(
        self, reason: str, *, never_sent: bool, retry_after_s: int = 1, subject: str | None = None
    ) -> None:
        self.reason = reason
        self.never_sent = never_sent
        self.retry_after_s = retry_after_s
        self.subject = subject
        super().__init__(reason)


class _UnfitError(Exception):
    """The request cannot be built, so it was not sent; that says nothing about the bank."""


class _OtherBankError(Exception):
    """The bank is the sandbox and the settings say that it is none, or the other way round."""


_BEFORE_THE_CALL = (BreakerOpenError, TokenRefusedError, _UnfitError, _OtherBankError)


@dataclass(frozen=True)
class _Reply:
    """A whole answer below 500."""

    status: int
    body: bytes
    retry_after_s: int
    sandbox: bool


class BankClient:
    """Initiates payments and asks for their status; one for a process, shared by its threads.

    A call tries up to `tries` times within `deadline_s`, with jitter in between. That is safe
    because every try carries the payment's one key, and a definite no is never tried again. No
    method raises for what the bank or the network does: the answer's type tells it.
    """

    def __init__(
        self,
        bank: BankSettings,
        *,
        tries: int = 3,
        breaker_failures: int = 5,
        breaker_recovery_s: float = 5.0,
    ) -> None:
        self._bank = bank
        self._base = bank.base_url.rstrip("/")
        self._tries = tries
        self._breaker = Breaker(breaker_failures, breaker_recovery_s)
        self._tokens = TokenKeeper(bank)
        self._session = _session(bank)

    def close(self) -> None:
        """Closes the pooled connections."""
        self._session.close()

    @property
    def dead_for_s(self) -> int:
        """Seconds for which the breaker keeps calls from a failing bank; 0 when it lets them."""
        return self._breaker.open_for_s

    def initiate(self, instruction: bytes, key: str, request_id: str) -> Initiated:
        """Sends `instruction` (JSON) under the payment's `key`; the same key books once."""
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        answers: list[Initiated] = []

        def once(deadline: float) -> Initiated:
            answer = self._initiate_once(instruction, headers, request_id, deadline)
            answers.append(answer)
            return answer

        return _with_earlier_doubt(answers, self._repeating(once))

    def status(self, reference: str, request_id: str) -> Asked:
        """What has become of the payment that the bank calls `reference`."""
        path = self._bank.status_path.replace("{id}", quote(reference, safe=""))

        def once(deadline: float) -> Asked:
            try:
                reply = self._authorised("GET", path, None, {}, request_id, deadline)
            except (_NoReplyError, *_BEFORE_THE_CALL) as error:
                return InDoubt(self._clean(str(error)), getattr(error, "retry_after_s", 1))
            return self._status_answer(reply, reference)

        return self._repeating(once)

    def _initiate_once(
        self, instruction: bytes, headers: dict[str, str], request_id: str, deadline: float
    ) -> Initiated:
        path = self._bank.initiate_path
        try:
            reply = self._authorised("POST", path, instruction, headers, request_id, deadline)
        except _NoReplyError as error:
            unsent = NotSent if error.never_sent else InDoubt
            return unsent(self._clean(error.reason), error.retry_after_s)
        except _BEFORE_THE_CALL as error:
            return self._not_sent(error)
        if reply.sandbox and not self._bank.sandbox:
            return InDoubt(f"a sandbox answered it ({reply.status}), and this is to be none", 1)
        return self._initiate_answer(reply)

    def _not_sent(self, error: Exception) -> NotSent:
        if isinstance(error, BreakerOpenError):
            return NotSent("it failed several times in a row", max(2, error.retry_after_s))
        if isinstance(error, TokenRefusedError):
            return NotSent(
                f"its token endpoint gave no token ({error}); whoever runs Paydesk checks "
                "PAYDESK_BANK_CLIENT_ID, PAYDESK_BANK_CLIENT_SECRET and PAYDESK_BANK_TOKEN_PATH",
                error.retry_after_s,
            )
        if isinstance(error, _OtherBankError):
            return NotSent(str(error), _CREDENTIALS_RETRY_S)
        return NotSent(self._clean(f"the request cannot be built: {error}"), 1)

    def _initiate_answer(self, reply: _Reply) -> Initiated:
        if reply.status == 401:
            return NotSent("it refuses Paydesk's token", _CREDENTIALS_RETRY_S)
        if reply.status == 429:
            return NotSent("it asks for fewer requests (429)", reply.retry_after_s)
        if reply.status in _UNCLEAR or not (200 <= reply.status < 300 or reply.status >= 400):
            return InDoubt(f"it answered {reply.status}", reply.retry_after_s)
        answer = _object(reply.body)
        if reply.status >= 400:
            return Refused(self._clean(_problem(reply.status, answer)), answer)
        try:
            read = _InitiateAnswer.model_validate(answer)
        except ValidationError:
            return InDoubt(f"it answered {reply.status} with a body that makes no sense", 1)
        assert answer is not None  # noqa: S101 (validated above; for the type checker)
        return Taken(read.reference, read.status, answer)

    def _status_answer(self, reply: _Reply, reference: str) -> Asked:
        if reply.status == 404:
            return NotKnown()
        answer = _object(reply.body)
        try:
            if not 200 <= reply.status < 300:
                return InDoubt(self._clean(_problem(reply.status, answer)), reply.retry_after_s)
            report = _StatusAnswer.model_validate(answer).report
        except ValidationError:
            return InDoubt(f"it answered {reply.status} with a body that makes no sense", 1)
        assert answer is not None  # noqa: S101 (validated above; for the type checker)
        reason = " ".join(filter(None, (report.code, report.reason)))
        return Taken(reference, report.status, answer, self._clean(reason))

    def _repeating(self, once: Callable[[float], A]) -> A:
        """The first clear answer of `once(deadline)`, or the last one when time or tries end."""
        deadline = time.monotonic() + self._bank.deadline_s

        def unclear(answer: A) -> bool:
            # A bank that asks for more than a second is left alone; the caller is told how long.
            return isinstance(answer, NotSent | InDoubt) and answer.retry_after_s <= 1

        def over(state: tenacity.RetryCallState) -> bool:
            return (
                state.attempt_number >= self._tries
                or time.monotonic() + state.upcoming_sleep + _SHORTEST_TRY_S >= deadline
            )

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_result(unclear),
            stop=over,
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=2.0),
            retry_error_callback=_last_result,
        )
        answer: A = retrying(once, deadline)
        return answer

    def _authorised(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        request_id: str,
        deadline: float,
    ) -> _Reply:
        """The reply to a call with a token; a 401 costs one fresh token and one more try."""
        request_id = carried(request_id)
        headers = {**headers, "X-Request-ID": request_id}
        token = self._token(request_id, deadline)
        reply = self._call(method, path, body, _bearing(headers, token), deadline)
        if reply.status != 401:
            return reply
        self._tokens.forget(token)
        token = self._token(request_id, deadline)
        return self._call(method, path, body, _bearing(headers, token), deadline)

    def _token(self, request_id: str, deadline: float) -> str:
        headers = {"X-Request-ID": request_id}

        def post(form: dict[str, str]) -> str:
            try:
                reply = self._call("POST", self._bank.token_path, form, headers, deadline)
            except _NoReplyError as error:
                # Whatever became of the token request, the payment was not in it.
                reason = f"its token endpoint did not answer: {error.reason}"
                raise _NoReplyError(
                    reason, never_sent=True, retry_after_s=error.retry_after_s
                ) from None
            if not 200 <= reply.status < 300:
                definite = 400 <= reply.status < 500 and reply.status != 429
                retry_after_s = _CREDENTIALS_RETRY_S if definite else reply.retry_after_s
                raise TokenRefusedError(f"status {reply.status}", retry_after_s)
            # Before the first payment goes: what a flag says of the bank, the bank says itself.
            if reply.sandbox != self._bank.sandbox:
                raise _OtherBankError(_other_bank(self._bank.sandbox))
            return reply.body.decode(errors="replace")

        return self._tokens.token(post, max(0.0, deadline - time.monotonic()))

    def _call(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, str] | None,
        headers: dict[str, str],
        deadline: float,
    ) -> _Reply:
        # One payment that the bank answers with 500 is no sign that the bank is gone.
        subject = headers.get("Idempotency-Key") or (path if method == "GET" else None)
        prepared = self._prepared(method, path, body, headers)
        return self._breaker.call(lambda: self._exchange(prepared, deadline, subject))

    def _prepared(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, str] | None,
        headers: dict[str, str],
    ) -> requests.PreparedRequest:
        request = requests.Request(method, self._base + path, data=body, headers=headers)
        try:
            return self._session.prepare_request(request)
        except (requests.RequestException, HTTPError, ValueError) as error:
            # By its class only: the text may quote a header with the token.
            raise _UnfitError(type(error).__name__) from None

    def _exchange(
        self, prepared: requests.PreparedRequest, deadline: float, subject: str | None
    ) -> _Reply:
        """One request and its whole answer. Raises _NoReplyError for a 5xx as for no answer."""
        left_s = deadline - time.monotonic()
        if left_s < _SHORTEST_TRY_S:
            raise _NoReplyError("there was no time left for a try", never_sent=True)
        timeout = Timeout(
            connect=self._bank.connect_timeout_s, read=self._bank.read_timeout_s, total=left_s
        )
        whole = Deadline(deadline)
        try:
            with (
                whole.running(),
                self._session.send(
                    prepared,
                    # requests hands a Timeout on to urllib3 as it is; its types do not say so.
                    timeout=timeout,  # type: ignore[arg-type]
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                content = b"".join(_chunks(response, deadline))
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            reason = "no whole answer in time" if whole.over else _why(error, self._bank)
            raise _NoReplyError(reason, never_sent=_never_sent(error)) from None
        if whole.over:  # What was cut off can look like a whole answer without a body.
            raise _NoReplyError("no whole answer in time", never_sent=False)
        retry_after_s = _retry_after_s(response)
        if response.status_code >= 500:
            raise _NoReplyError(
                f"it answered {response.status_code}",
                never_sent=False,
                retry_after_s=retry_after_s,
                subject=subject,
            )
        sandbox = SANDBOX_HEADER in response.headers
        return _Reply(response.status_code, content, retry_after_s, sandbox)

    def _clean(self, text: str) -> str:
        """`text` as one short printable line without the client's secret."""
        secret = self._bank.client_secret.get_secret_value()
        line = "".join(c if c.isprintable() else " " for c in text)
        return (line.replace(secret, "***") if secret else line)[:_REASON_LENGTH]


def _session(bank: BankSettings) -> requests.Session:
    session = requests.Session()
    # From the environment requests would take proxies, CA bundles and, from ~/.netrc, credentials
    # that replace the bank's token: all of it comes from the settings instead.
    session.trust_env = False
    session.verify = str(bank.ca_bundle) if bank.ca_bundle else True
    if proxy := bank.proxy.get_secret_value():
        session.proxies = {"http": proxy, "https": proxy}
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update({"Accept": "application/json", "User-Agent": "paydesk"})
    adapter = DeadlineAdapter(pool_maxsize=_POOL, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def _other_bank(sandbox: bool) -> str:
    if sandbox:
        return (
            "PAYDESK_BANK_SANDBOX is true, but the bank does not say that it is the sandbox; "
            "whoever runs Paydesk mends PAYDESK_BANK_BASE_URL or PAYDESK_BANK_SANDBOX"
        )
    return (
        "the bank says that it is a sandbox, and PAYDESK_BANK_SANDBOX is not true; whoever runs "
        "Paydesk mends PAYDESK_BANK_BASE_URL or PAYDESK_BANK_SANDBOX"
    )


def _with_earlier_doubt(answers: list[Initiated], last: Initiated) -> Initiated:
    """`last`, unless an earlier try may have booked what the last one was refused."""
    if isinstance(last, Refused | NotSent) and any(isinstance(a, InDoubt) for a in answers):
        retry_after_s = last.retry_after_s if isinstance(last, NotSent) else 1
        return InDoubt(f"{last.reason}; an earlier try was left unanswered", retry_after_s)
    return last


def _last_result(state: tenacity.RetryCallState) -> Any:
    assert state.outcome is not None  # noqa: S101 (set before any stop is considered)
    return state.outcome.result()


def _bearing(headers: dict[str, str], token: str) -> dict[str, str]:
    return {**headers, "Authorization": f"Bearer {token}"}


def _chunks(response: requests.Response, deadline: float) -> Iterator[bytes]:
    """The body, one socket read at a time: requests limits each read, this the whole."""
    size = 0
    while chunk := response.raw.read1(1 << 16, decode_content=True):
        size += len(chunk)
        if size > _BODY_LIMIT:
            raise requests.RequestException("its answer is longer than 1 MiB")
        if time.monotonic() > deadline:
            raise requests.Timeout("its answer did not end in time")
        yield chunk


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _problem(status: int, answer: dict[str, Any] | None) -> str:
    told = [str((answer or {}).get(member) or "") for member in ("title", "detail")]
    reason = ": ".join(part.rstrip(". ") for part in told if part)
    return f"it answered {status}: {reason or 'no reason given'}"


def _retry_after_s(response: requests.Response) -> int:
    text = response.headers.get("Retry-After", "")
    return min(3_600, int(text)) if text.isdecimal() and len(text) < 6 else 1


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        cause = waiting.pop()
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [*cause.args, getattr(cause, "reason", None), cause.__cause__]


def _never_sent(error: Exception) -> bool:
    """Whether the request cannot have reached the bank: no connection, or no trust in it."""
    return any(
        isinstance(
            cause,
            NewConnectionError
            | ConnectTimeoutError
            | ssl.SSLCertVerificationError
            | requests.exceptions.InvalidURL
            | requests.exceptions.InvalidSchema
            | requests.exceptions.MissingSchema,
        )
        or getattr(cause, "reason", None) == "WRONG_VERSION_NUMBER"
        for cause in _causes(error)
    )


# The libraries' own texts name addresses of objects and nest three deep.
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (ssl.SSLCertVerificationError, "its TLS certificate cannot be trusted"),
    (ssl.SSLError, "the TLS connection failed"),
    # urllib3 makes every failed connection a kind of timeout: the narrower one first.
    (NewConnectionError, "no connection could be made"),
    (ConnectTimeoutError, "no connection within {connect_timeout_s} s"),
    (requests.exceptions.ProxyError, "the proxy did not let the request through"),
    (requests.exceptions.Timeout, "no answer within {read_timeout_s} s"),
    (TimeoutError, "no answer within {read_timeout_s} s"),
)


def _why(error: Exception, bank: BankSettings) -> str:
    causes = list(_causes(error))
    for kind, reason in _REASONS:
        if any(isinstance(cause, kind) for cause in causes):
            return reason.format(
                connect_timeout_s=bank.connect_timeout_s, read_timeout_s=bank.read_timeout_s
            )
    return "the connection broke before the whole answer was there"
