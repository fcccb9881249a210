"""One shape of error for everything: application/problem+json (RFC 9457) with `error` beside it."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from paydesk.errors import PaydeskError
from paydesk.payments.errors import (
    BankNotConfiguredError,
    BankUnavailableError,
    CursorInvalidError,
    DuplicatePaymentError,
    IdempotencyKeyInvalidError,
    IdempotencyKeyReusedError,
    PaymentInProgressError,
    PaymentInvalidError,
    PaymentNotFoundError,
    PaymentRejectedError,
    PaymentUnknownError,
)
from paydesk.payments.payment import PaymentRecord
from paydesk.storage.database import DatabaseUnavailableError
from paydesk.storage.decision_log import DecisionLogUnavailableError
from paydesk.web.holding import OverrideInvalidError, PaymentHeldError

log = logging.getLogger("paydesk")


class BodyTooLargeError(PaydeskError):
    """The body is longer than the route takes."""


class BadRequestError(PaydeskError):
    """The request cannot be understood; `fields` names what is wrong where."""

    def __init__(self, message: str, fields: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        self.fields = list(fields)


_STATUS: dict[type[PaydeskError], int] = {
    BadRequestError: 400,
    BodyTooLargeError: 413,
    DatabaseUnavailableError: 503,
    DecisionLogUnavailableError: 503,
    PaymentInvalidError: 400,
    IdempotencyKeyInvalidError: 400,
    CursorInvalidError: 400,
    PaymentHeldError: 403,
    PaymentNotFoundError: 404,
    DuplicatePaymentError: 409,
    PaymentInProgressError: 409,
    IdempotencyKeyReusedError: 422,
    OverrideInvalidError: 422,
    PaymentRejectedError: 422,
    BankUnavailableError: 503,
    BankNotConfiguredError: 503,
    PaymentUnknownError: 504,
}

_RETRY_AFTER_S = 5


def problem(
    code: int,
    error: str,
    *,
    instance: str = "",
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """An answer of type application/problem+json; `error` is one sentence for a person."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(code).phrase,
        "status": code,
        "detail": error,
        "instance": instance,
        "error": error,
        **members,
    }
    extra = dict(headers or {})
    if code in {429, 503}:
        extra.setdefault("Retry-After", str(_RETRY_AFTER_S))
    return Response(orjson.dumps(body), code, extra, "application/problem+json")


def invalid(error: ValidationError) -> BadRequestError:
    """What pydantic found, in words: `Missing required field 'amount'`."""
    fields = []
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        name = ".".join(str(step) for step in found["loc"]) or "body"
        missing = found["type"] == "missing"
        reason = f"Missing required field '{name}'" if missing else f"{name}: {found['msg']}"
        fields.append({"field": name, "reason": reason})
    return BadRequestError(fields[0]["reason"], fields)


async def answer_error(request: Request, error: Exception) -> Response:
    """The answer to any exception that a route raised."""
    path = request.url.path
    if not isinstance(error, PaydeskError):
        log.error("%s %s failed", request.method, path, exc_info=error)
        return problem(500, "Paydesk failed on this request; its log says why.", instance=path)
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    if status >= 500:
        log.error("%s %s: %s", request.method, path, error)
    members: dict[str, Any] = {}
    if isinstance(error, BadRequestError):
        members["errors"] = error.fields
    if isinstance(error, PaymentInvalidError):
        members["errors"] = [{"field": error.field, "reason": error.reason}]
    if isinstance(error, PaymentHeldError):
        members["decision"] = error.decision.model_dump()
    payment = getattr(error, "payment", None)
    if isinstance(payment, PaymentRecord):
        members["payment"] = payment.model_dump(mode="json")
    retry_s = getattr(error, "retry_after_s", None)
    headers = None if retry_s is None else {"Retry-After": str(retry_s)}
    return problem(status, str(error), instance=path, headers=headers, **members)


async def answer_unrouted(request: Request, error: Exception) -> Response:
    """The answer where no route, or no method of it, matched."""
    path = request.url.path
    status = getattr(error, "status_code", 500)
    headers = dict(getattr(error, "headers", None) or {})
    if status == 404:
        sentence = f"There is nothing at {path}. GET / says what there is."
    elif status == 405:
        sentence = f"{request.method} is not for {path}; it takes {headers.get('Allow', '')}."
    else:
        sentence = str(getattr(error, "detail", "")) or HTTPStatus(status).phrase
    return problem(status, sentence, instance=path, headers=headers)
