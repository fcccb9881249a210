"""HTTP/1.1 as uvicorn speaks it, with an end to a request's head: its bytes, lines and seconds."""

import asyncio
import logging
from typing import Any, ClassVar, cast

from uvicorn import config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from paydesk.storage.identifiers import random_hex
from paydesk.web.bodies import WHOLE_BODY
from paydesk.web.envelope import GUARDS, POLICY
from paydesk.web.errors import problem
from paydesk.web.front import Front
from paydesk.web.routes import Http
from paydesk.web.streamed import ABORT

HEAD_LIMIT = 32 * 1024
MOST_HEADERS = 100
HEAD_SECONDS = 15.0
NAME = f"{__name__}:GuardedProtocol"

# How long an answer to what is still being sent has to arrive: a socket that is closed on unread
# bytes is reset, and takes the answer with it.
_LINGER_S = 1.0
_SAYS = {
    400: "This is not HTTP/1.1 as RFC 9112 has it.",
    408: f"The head of the request was not complete within {HEAD_SECONDS:.0f} s; send it faster.",
    414: f"The address is too long: a request's head has up to {HEAD_LIMIT:,} bytes.",
    431: f"The head of a request has up to {HEAD_LIMIT:,} bytes and {MOST_HEADERS} headers.",
}
_log = logging.getLogger(__name__)


class _HeadTooLongError(Exception):
    """Stops the parser; the answer is made where the parser's errors are."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection. No byte of it is kept beyond the limits, before any gate or body limit.

    uvicorn's parser gathers a head for as long as it comes. Bytes are counted as they arrive, and
    only while a head is open: a request that comes in one piece costs two comparisons.
    """

    http: ClassVar[Http]  # the routes, see `install`

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        _place_front(self.app, self.http)
        self.access_log = False  # Paydesk has its own, which no path and no address gets into.
        self.url = b""
        self.headers = []
        self._begun = False  # a head: its first byte was there, its last was not
        self._in_body = False
        self._came = 0
        self._in_one_piece = False  # the request so far
        self._gathered = 0  # bytes since the last head, or since the last byte of a body
        self._refused = False
        self._late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins the time for a first request, which uvicorn waits for without end."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the time."""
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Feeds the parser until a limit is passed; what comes after that is dropped."""
        if self._refused:
            return
        self._came = len(data)
        self._in_one_piece = False
        self._gathered += self._came
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        if self._gathered > HEAD_LIMIT:
            # An unfinished head, or chunk extensions and trailers, which have no limit either.
            self._refuse(self._too_long())
        elif self._gathered and not self._in_body and self._late is None:
            self._expect_head()

    def on_message_begin(self) -> None:
        """A head begins."""
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[ABORT] = self.transport.abort
        self._begun = True

    def on_headers_complete(self) -> None:
        """A head is whole; the app is called unless it is too long."""
        if len(self.headers) > MOST_HEADERS or (
            # One that came in pieces was counted; one that came at once only together with a body.
            (self._gathered > HEAD_LIMIT or self._came > HEAD_LIMIT) and self._size() > HEAD_LIMIT
        ):
            raise _HeadTooLongError
        super().on_headers_complete()
        self._begun = False
        self._in_body = True
        self._in_one_piece = True
        self._gathered = 0
        self._head_is_there()

    def on_body(self, body: bytes) -> None:
        """A part of a body, which has limits of its own."""
        self._gathered = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole; what comes now is the next one's head."""
        self._in_body = False
        self._gathered = 0
        if self._in_one_piece:
            # The app has not begun: it need not wait for the body, nor set a time for it.
            cast(dict[str, Any], self.scope)[WHOLE_BODY] = bytes(self.cycle.body)
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers where the parser stopped, or was stopped."""
        del msg
        too_long = len(self.headers) > MOST_HEADERS or self._size() > HEAD_LIMIT
        self._refuse(self._too_long() if self._begun and too_long else 400)

    def _should_upgrade_to_ws(self) -> bool:
        # Nothing here speaks WebSocket: a handshake is answered as the plain request that it also
        # is, by our routes, with our headers and a line in the log.
        return False

    def _unsupported_upgrade_warning(self) -> None:
        """Says nothing: Java's client asks for HTTP/2 with every first request."""

    def _size(self) -> int:
        # Of each line its two, of each header its four bytes that are no part of name and value.
        fields = sum(len(name) + len(value) + 4 for name, value in self.headers)
        return len(self.url) + fields

    def _too_long(self) -> int:
        return 414 if self._begun and len(self.url) > HEAD_LIMIT // 2 else 431

    def _expect_head(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self._head_is_late)

    def _head_is_there(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _head_is_late(self) -> None:
        self._late = None
        if self._answering():
            # What was sent ahead waits until the answer is out: its time begins anew.
            self._expect_head()
        elif self._begun:
            self._refuse(408)
        else:
            self.transport.close()

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, status: int) -> None:
        self._refused = True
        self._head_is_there()
        self._unset_keepalive_if_required()
        self.headers = []
        self.url = b""
        if self._answering():
            if not self._in_body or self.cycle.response_started or self.pipeline:
                # An earlier answer is under way, and is the last on this connection.
                self.cycle.keep_alive = False
                return
            # This is the answer; the app, which waits for the body, is told that nobody listens.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        elif self._in_body:
            self.transport.close()  # Its answer is out; there is nothing to add.
            return
        request_id = random_hex()
        _log.warning("A request was refused: %d", status, extra={"request_id": request_id})
        answer = problem(status, _SAYS[status], request_id=request_id)
        fields = [
            *answer.raw_headers,
            *GUARDS,
            POLICY,
            (b"x-request-id", request_id.encode("ascii")),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(b"".join([STATUS_LINE[status], head, b"\r\n", bytes(answer.body)]))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_S, self.transport.close)


def install(http: Http) -> None:
    """Makes this what uvicorn takes where nobody names a protocol, and `http` what answers first.

    `bentoml serve` makes uvicorn's Config itself and passes no protocol on; a worker imports the
    service before.
    """
    GuardedProtocol.http = http
    config.HTTP_PROTOCOLS["auto"] = NAME


def _place_front(app: object, http: Http) -> None:
    # BentoML's own stack comes before every middleware that a service can add: its tracing and its
    # timer take as long as all that Paydesk does for /score. Nothing of it is needed by our routes.
    while isinstance(app, ProxyHeadersMiddleware):
        below: Any = app.app
        if not isinstance(below, Front | ProxyHeadersMiddleware):
            below = app.app = cast(Any, Front(below, http))
        app = below
