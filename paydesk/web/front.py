"""Stands before BentoML's own stack: answers every route of the contract itself."""

from typing import ClassVar

from starlette.types import ASGIApp, Receive, Scope, Send


class Front:
    """An ASGI middleware: what BentoML has to answer goes on to it, all else goes to the routes.

    BentoML answers its probes and its schema. Its own endpoints of the same names are behind this
    and call the same functions: they give BentoML's clients their types.
    """

    LEFT_TO_BENTOML: ClassVar[frozenset[str]] = frozenset(
        {"/livez", "/readyz", "/healthz", "/schema.json"}
    )

    def __init__(self, app: ASGIApp, http: ASGIApp) -> None:
        self._bentoml = app
        self._http = http

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or passes on."""
        if scope["type"] != "http" or scope["path"] in self.LEFT_TO_BENTOML:
            await self._bentoml(scope, receive, send)
        else:
            await self._http(scope, receive, send)
