"""Reads a request's JSON body into a model, within limits of length, time and strictness."""

import asyncio
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from paydesk.json_text import JsonTextError, parse_object
from paydesk.web.errors import (
    BadRequestError,
    BodyEncodingError,
    BodyTooLargeError,
    BodyTooSlowError,
    invalid,
)

BODY_LIMIT = 1024 * 1024
BODY_SECONDS = 15.0
WHOLE_BODY = "paydesk.body"  # Where the scope has a body that came together with its head.

_CHARSETS = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
_Model = TypeVar("_Model", bound=BaseModel)


async def read_model(request: Request, model: type[_Model], *, exact: bool = False) -> _Model:
    """The body as `model`. Raises what `read_json` raises; each field that is wrong is named."""
    return validated(await read_json(request, exact=exact), model)


async def read_json(request: Request, *, exact: bool = False) -> dict[str, Any]:
    """The body as a JSON object, whatever its Content-Type: curl -d sends that of a form.

    `exact` keeps every digit of a number as it was written: where it is money.
    Raises BadRequestError, BodyTooLargeError, BodyTooSlowError or BodyEncodingError.
    """
    _refuse_encodings(request)
    body = await _read(request)
    try:
        return parse_object(body, exact=exact)
    except JsonTextError as error:
        raise BadRequestError(str(error)) from error


def validated(body: dict[str, Any], model: type[_Model]) -> _Model:
    """`body` as `model`. Raises BadRequestError."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise invalid(error) from error


def _refuse_encodings(request: Request) -> None:
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"identity", ""}:
        message = f"The Content-Encoding {coding[:40]!r} is not read here; send the body as it is."
        raise BodyEncodingError(message)
    kind = request.headers.get("content-type", "").lower()
    if "charset" not in kind:
        return
    charset = kind.partition("charset")[2].lstrip(" =").partition(";")[0].strip(" \"'")
    if charset not in _CHARSETS:
        message = f"The charset {charset[:40]!r} is not read here; JSON is sent in UTF-8."
        raise BodyEncodingError(message)


async def _read(request: Request) -> bytes:
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > BODY_LIMIT:
        raise BodyTooLargeError(_too_large())
    if (whole := request.scope.get(WHOLE_BODY)) is not None:
        return cast(bytes, whole)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _whole(request)
    except TimeoutError as error:
        message = f"The body was not complete within {BODY_SECONDS:.0f} s; send it faster."
        raise BodyTooSlowError(message) from error


async def _whole(request: Request) -> bytes:
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            sentence = "The connection closed before the body was complete."
            raise BadRequestError(sentence)
        part = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(part)
        if size > BODY_LIMIT:
            raise BodyTooLargeError(_too_large())
        parts.append(part)
    return b"".join(parts)


def _too_large() -> str:
    return f"The body is longer than {BODY_LIMIT:,} bytes, the most that this route takes."
