"""One shape of error for everything: application/problem+json (RFC 9457) with `error` beside it."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from paydesk.errors import PaydeskError, field_errors
from paydesk.payments.errors import (
    BankNotConfiguredError,
    BankUnavailableError,
    CursorInvalidError,
    DuplicatePaymentError,
    IdempotencyKeyInvalidError,
    IdempotencyKeyReusedError,
    OverrideInvalidError,
    PaymentAlikeError,
    PaymentInProgressError,
    PaymentInvalidError,
    PaymentNotFoundError,
    PaymentRejectedError,
    PaymentSettledError,
    PaymentUnknownError,
)
from paydesk.payments.payment import PaymentRecord
from paydesk.storage.database import DatabaseUnavailableError
from paydesk.storage.decision_log import DecisionLogUnavailableError
from paydesk.storage.jobs import JobKeyReusedError, JobNotFoundError, JobsFullError
from paydesk.web.exchange import exchange_of
from paydesk.web.gate import (
    ForeignError,
    KeyMissingError,
    KeyScopeError,
    TooManyRequestsError,
)
from paydesk.web.holding import PaymentHeldError
from paydesk.web.lanes import LaneBusyError, LaneLateError

log = logging.getLogger("paydesk")


class BodyTooLargeError(PaydeskError):
    """The body is longer than the route takes."""


class BodyTooSlowError(PaydeskError):
    """The body did not come in time."""


class BodyEncodingError(PaydeskError):
    """The body is declared to be compressed, or in another charset than UTF-8."""


class NotAcceptableError(PaydeskError):
    """No form of the answer is one that the client accepts."""


class SpoolError(PaydeskError):
    """There is no room to keep a body until it is worked through."""

    retry_after_s = 5


class JobUnfinishedError(PaydeskError):
    """The job has no result yet."""

    retry_after_s = 5


class JobElsewhereError(PaydeskError):
    """The result is not on this server's disk."""


class BadRequestError(PaydeskError):
    """The request cannot be understood; `fields` names what is wrong where."""

    def __init__(self, message: str, fields: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        self.fields = list(fields)


class DecisionKeyReusedError(PaydeskError):
    """The Idempotency-Key came before with another transaction."""

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for another transaction. Repeat that one unchanged, or "
            "send a new key for a new transaction."
        )


STATUS: dict[type[PaydeskError], int] = {
    BadRequestError: 400,
    KeyMissingError: 401,
    KeyScopeError: 403,
    ForeignError: 403,
    NotAcceptableError: 406,
    BodyTooSlowError: 408,
    BodyTooLargeError: 413,
    BodyEncodingError: 415,
    TooManyRequestsError: 429,
    LaneBusyError: 503,
    SpoolError: 503,
    LaneLateError: 504,
    DatabaseUnavailableError: 503,
    DecisionLogUnavailableError: 503,
    JobNotFoundError: 404,
    JobUnfinishedError: 409,
    JobElsewhereError: 421,
    JobKeyReusedError: 422,
    JobsFullError: 507,
    PaymentInvalidError: 400,
    IdempotencyKeyInvalidError: 400,
    CursorInvalidError: 400,
    PaymentHeldError: 403,
    PaymentNotFoundError: 404,
    DuplicatePaymentError: 409,
    PaymentAlikeError: 409,
    PaymentInProgressError: 409,
    PaymentSettledError: 409,
    IdempotencyKeyReusedError: 422,
    DecisionKeyReusedError: 422,
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
    """What pydantic found, as the answer to it."""
    fields = field_errors(error)
    return BadRequestError(fields[0]["reason"], fields)


def answer_error(request: Request, error: PaydeskError) -> Response:
    """The answer to an error that a handler raised."""
    exchange = exchange_of(request)
    status = next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
    if status >= 500:
        log.error(
            "%s: %s",
            exchange.route,
            type(error).__name__,
            exc_info=error,
            extra={"request_id": exchange.request_id},
        )
    members: dict[str, Any] = {"request_id": exchange.request_id}
    if isinstance(error, BadRequestError):
        members["errors"] = error.fields
    if isinstance(error, PaymentInvalidError):
        members["errors"] = [{"field": error.field, "reason": error.reason}]
    if isinstance(error, PaymentAlikeError):
        members["alike"] = error.alike.model_dump(mode="json")
    if isinstance(error, PaymentHeldError):
        members["decision"] = error.decision.model_dump()
    payment = getattr(error, "payment", None)
    if isinstance(payment, PaymentRecord):
        members["payment"] = payment.model_dump(mode="json")
    headers = {}
    if (retry_s := getattr(error, "retry_after_s", None)) is not None:
        headers["Retry-After"] = str(retry_s)
    if getattr(error, "replayed", False):
        headers["Idempotency-Replayed"] = "true"
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="paydesk"'
    return problem(status, str(error), instance=request.url.path, headers=headers, **members)
