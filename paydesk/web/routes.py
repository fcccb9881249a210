"""The contract as one ASGI application: a path finds its resource, all else is a 404."""

from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from paydesk.settings import Settings
from paydesk.web.application import Application
from paydesk.web.contract import CONTRACT
from paydesk.web.cors import Cors
from paydesk.web.envelope import Envelope
from paydesk.web.gate import Gate
from paydesk.web.logs import RequestLog
from paydesk.web.resource import Bound, Resource, nothing_here


class Http:
    """Every route; `bind` must give it what they answer from before it answers."""

    def __init__(self) -> None:
        self._bound = Bound()
        resources = {
            path: Resource(path, methods, self._bound) for path, methods in CONTRACT.items()
        }
        # Paths without a parameter are looked up; trying one pattern after another takes longer.
        self._fixed = {path: one for path, one in resources.items() if "{" not in path}
        self._router = Router(
            [Route(_pattern(path), resource) for path, resource in resources.items()],
            redirect_slashes=False,
            default=nothing_here,
        )
        self._app: ASGIApp = self._route

    def bind(
        self, application: Application, gate: Gate, log: RequestLog, settings: Settings
    ) -> None:
        """Gives the routes what they answer from."""
        self._bound.application, self._bound.gate = application, gate
        app: ASGIApp = self._route
        if settings.allowed_origins:
            app = Cors(app, settings.allowed_origins)
        self._app = Envelope(app, application.metrics, log)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request of type http."""
        await self._app(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._fixed.get(scope["path"], self._router)(scope, receive, send)


def _pattern(path: str) -> str:
    # A transaction's id may have a slash in it.
    return path.replace("{tx_id}", "{tx_id:path}")
