"""Reads a request's JSON body into a model, within limits."""

from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from paydesk.web.errors import BadRequestError, BodyTooLargeError, invalid

BODY_LIMIT = 1024 * 1024

_Model = TypeVar("_Model", bound=BaseModel)


async def read(request: Request) -> bytes:
    """The body. Raises BodyTooLargeError as soon as it is known to be too long."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > BODY_LIMIT:
        raise BodyTooLargeError(_too_large())
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > BODY_LIMIT:
                raise BodyTooLargeError(_too_large())
            parts.append(part)
    except ClientDisconnect as error:
        message = "The connection closed before the body was complete."
        raise BadRequestError(message) from error
    return b"".join(parts)


async def read_json(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises BadRequestError."""
    body = await read(request)
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(_not_json(body, str(error))) from error
    if not isinstance(parsed, dict):
        message = f"The body must be one JSON object, not {_kind(parsed)}."
        raise BadRequestError(message)
    return parsed


async def read_model(request: Request, model: type[_Model]) -> _Model:
    """The body as `model`. Raises BadRequestError, which names each field that is wrong."""
    return validated(await read_json(request), model)


def validated(body: dict[str, Any], model: type[_Model]) -> _Model:
    """`body` as `model`. Raises BadRequestError."""
    try:
        return model.model_validate(body)
    except ValidationError as error:
        raise invalid(error) from error


def _too_large() -> str:
    return f"The body is longer than {BODY_LIMIT:,} bytes, the most that this route takes."


def _not_json(body: bytes, reason: str) -> str:
    if not body.strip():
        return "The body is empty; it must be one JSON object."
    return f"The body is not valid JSON: {reason}."


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean"}
    return kinds.get(type(value), "null")
