"""Cross-origin calls from the web pages that the settings allow (CORS), and no others."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from paydesk.web.errors import problem

_SENT = ("Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID")
_SHOWN = ("Location", "X-Request-ID", "Idempotency-Replayed", "Retry-After")


class Cors(CORSMiddleware):
    """Starlette's, with a refusal in the shape of our errors."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=_SENT,
            expose_headers=_SHOWN,
            max_age=600,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser that asks before it sends."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        origin = request_headers.get("origin", "")
        message = f"Pages of {origin[:100]!r} may not send this: PAYDESK_ALLOWED_ORIGINS and the"
        return problem(403, f"{message} methods and headers of /docs are what is allowed.")
