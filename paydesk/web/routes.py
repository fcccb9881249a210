"""Every route of the HTTP contract, as one Starlette application."""

from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from paydesk.errors import PaydeskError
from paydesk.risk.transaction import Transaction
from paydesk.web import bodies
from paydesk.web.application import Application, Email
from paydesk.web.errors import BadRequestError, answer_error, answer_unrouted, problem
from paydesk.web.holding import PaymentOrder

WELCOME = "Welcome to the transaction monitoring system!"
_PAGES = Path(__file__).with_name("pages")
_PAGE_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'"


def http_routes() -> Starlette:
    """The application; `bind` must give it an Application before it answers."""
    return Starlette(
        routes=[
            Route("/score", _score, methods=["POST"]),
            Route("/predict", _predict, methods=["POST"]),
            Route("/payment", _payment, methods=["POST"]),
            Route("/payment/{payment_id}", _one_payment),
            Route("/payments", _payments),
            Route("/transaction/{tx_id:path}", _transaction),
            Route("/stats", _stats),
            Route("/health", _health),
            Route("/status", _status),
            Route("/echo", _echo, methods=["POST"]),
            Route("/hello", _hello),
            Route("/desk.css", _stylesheet),
            Route("/", _welcome),
        ],
        exception_handlers={
            HTTPException: answer_unrouted,
            PaydeskError: answer_error,
            Exception: answer_error,
        },
    )


def bind(http: Starlette, application: Application) -> None:
    """Gives the routes what they answer from."""
    http.state.application = application


def _application(request: Request) -> Application:
    application: Application = request.app.state.application
    return application


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")


def _model(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status, headers, "application/json")


async def _score(request: Request) -> Response:
    transaction = await bodies.read_model(request, Transaction)
    return _model(await _application(request).score(transaction))


async def _predict(request: Request) -> Response:
    email = await bodies.read_model(request, Email)
    return _model(await _application(request).predict(email))


async def _payment(request: Request) -> Response:
    payment = await bodies.read_model(request, PaymentOrder)
    outcome = await _application(request).pay(
        payment, request.headers.get("idempotency-key"), request.headers.get("x-request-id")
    )
    headers = {"Idempotency-Replayed": "true"} if outcome.replayed else None
    return _model(outcome.payment, 201, headers)


async def _one_payment(request: Request) -> Response:
    return _model(await _application(request).payment(request.path_params["payment_id"]))


async def _payments(request: Request) -> Response:
    query = request.query_params
    limit = query.get("limit", "50")
    if not limit.isdecimal():
        message = f"limit must be a whole number, not {limit[:20]!r}."
        raise BadRequestError(message, [{"field": "limit", "reason": message}])
    return _model(await _application(request).payments(query.get("cursor"), int(limit)))


async def _transaction(request: Request) -> Response:
    tx_id = request.path_params["tx_id"]
    found = await _application(request).transaction(tx_id)
    if found is None:
        return problem(
            404,
            f"Transaction {tx_id!r} was never scored here.",
            instance=request.url.path,
            tx_id=tx_id,
            status="not found",
        )
    return _json(found)


async def _stats(request: Request) -> Response:
    return _json(await _application(request).stats())


async def _health(request: Request) -> Response:
    return _json(await _application(request).health())


async def _status(request: Request) -> Response:
    return _json(_application(request).status())


async def _echo(request: Request) -> Response:
    received = await bodies.read_json(request)
    return _json({"received": received, "field_count": len(received)})


async def _hello(request: Request) -> Response:
    return PlainTextResponse(f"Hello, {request.query_params.get('name') or 'stranger'}!")


async def _welcome(request: Request) -> Response:
    if "text/html" in request.headers.get("accept", ""):
        return FileResponse(
            _PAGES / "index.html", headers={"Content-Security-Policy": _PAGE_POLICY}
        )
    return PlainTextResponse(WELCOME)


async def _stylesheet(_request: Request) -> Response:
    return FileResponse(_PAGES / "desk.css")
