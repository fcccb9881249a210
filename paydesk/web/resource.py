"""One path of the contract as an ASGI app: its methods, who may use them, and their errors."""

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from paydesk.errors import PaydeskError
from paydesk.web.application import Application
from paydesk.web.errors import BadRequestError, answer_error, problem
from paydesk.web.exchange import exchange_of
from paydesk.web.gate import Gate
from paydesk.web.operation import Operation

_CONTROL = "The address has a control character (like %00 or %0A), which no id has."


@dataclass(slots=True)
class Bound:
    """What the routes answer from: there is none until the service has opened it."""

    application: Application | None = None
    gate: Gate | None = None


class Resource:
    """Answers the methods of one path; HEAD where GET is, OPTIONS always."""

    def __init__(self, template: str, methods: Mapping[str, Operation], bound: Bound) -> None:
        self._template = template
        self._methods = dict(methods)
        if "GET" in methods:
            self._methods["HEAD"] = methods["GET"]
        self._allow = ", ".join([*self._methods, "OPTIONS"])
        self._bound = bound

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request whose path is this one."""
        request = Request(scope, receive, send)
        exchange_of(request).route = self._template
        try:
            response = await self._answer(request)
        except PaydeskError as error:
            response = answer_error(request, error)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> ASGIApp:
        found = self._methods.get(request.method)
        if found is None:
            return self._other_method(request)
        application, gate = self._bound.application, self._bound.gate
        if application is None or gate is None:
            raise AssertionError("a request came before the service was opened")
        gate.let_in(request, found.need)
        # Routing drops a line break at a path's end: the answer would be about another id.
        if _has_control(request.scope["path"]) or b"%00" in request.scope["query_string"]:
            raise BadRequestError(_CONTROL)
        return await found.handler(request, application)

    def _other_method(self, request: Request) -> Response:
        headers = {"Allow": self._allow}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        return problem(
            405,
            f"{request.method[:20]} is not for {self._template}; it takes {self._allow}.",
            instance=request.url.path,
            headers=headers,
            request_id=exchange_of(request).request_id,
        )


async def nothing_here(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer where no path of the contract matches."""
    request = Request(scope, receive, send)
    path = request.url.path
    if _has_control(scope["path"]):  # A line break keeps a path from its route.
        await answer_error(request, BadRequestError(_CONTROL))(scope, receive, send)
        return
    response = problem(
        404,
        f"There is nothing at {path[:200]}. GET /docs says what there is.",
        instance=path,
        request_id=exchange_of(request).request_id,
    )
    await response(scope, receive, send)


def _has_control(path: str) -> bool:
    return not path.isprintable() and any(sign < " " for sign in path)
