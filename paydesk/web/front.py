"""Stands before BentoML's own stack: answers every route of the contract itself."""

from starlette.types import ASGIApp, Receive, Scope, Send

from paydesk.web.handlers import BENTOML


class Front:
    """An ASGI middleware: every HTTP request goes to the routes, unless it has been there.

    BentoML's own endpoints of the same names are behind this and call the same functions: they
    give BentoML's clients their types, by /schema.json, for which the routes turn to BentoML.
    """

    def __init__(self, app: ASGIApp, http: ASGIApp) -> None:
        self._bentoml = app
        self._http = http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers; what BentoML does at start and end is passed on, and no WebSocket is opened."""
        if scope["type"] == "http" and BENTOML not in scope:
            scope[BENTOML] = self._bentoml
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            # Only where another server than ours stands below: ours answers it as plain HTTP.
            await send({"type": "websocket.close", "code": 1008})
        else:
            await self._bentoml(scope, receive, send)
