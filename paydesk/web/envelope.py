"""Around every answer: its id, the headers that guard it, its line in the log, its metrics."""

import logging
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paydesk.web.errors import problem
from paydesk.web.exchange import begin
from paydesk.web.logs import RequestLog
from paydesk.web.metrics import Metrics

POLICY = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
GUARDS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
# Where an answer says nothing of its own.
DEFAULTS = [POLICY, (b"cache-control", b"no-store")]
# The method comes from the caller and becomes a label: any other counts as one.
_METHODS = frozenset({"GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE"})
_FAILED = "Paydesk failed on this request; its log says why, under the request id."
_log = logging.getLogger(__name__)


class Envelope:
    """An ASGI app around another: no exception leaves it, and every answer is accounted for."""

    def __init__(self, app: ASGIApp, metrics: Metrics, log: RequestLog) -> None:
        self._app = app
        self._metrics = metrics
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request of type http."""
        exchange = begin(scope)
        request_id = (b"x-request-id", exchange.request_id.encode("ascii"))
        status = 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], *GUARDS, request_id]
                said = dict(headers)
                headers += [default for default in DEFAULTS if default[0] not in said]
                message["headers"] = headers
            await send(message)

        try:
            await self._app(scope, receive, send_guarded)
        except Exception as error:
            _log.exception("%s failed", exchange.route, extra={"request_id": exchange.request_id})
            if status:  # Half an answer is out: only a broken connection tells that it is no whole.
                raise ConnectionError("the answer broke off") from error
            answer = problem(500, _FAILED, request_id=exchange.request_id)
            await answer(scope, receive, send_guarded)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            self._log.add(method, exchange, status)
            self._metrics.answered(method, exchange.route, status, perf_counter() - exchange.began)
