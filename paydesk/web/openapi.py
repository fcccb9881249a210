"""The contract as one OpenAPI 3.1 document."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from paydesk import __version__
from paydesk.json_text import DEEPEST
from paydesk.web.answers import Problem, TransactionNotFound
from paydesk.web.bodies import BODY_LIMIT, BODY_SECONDS
from paydesk.web.operation import JSON, Contract, Operation
from paydesk.web.row_forms import ARROW, CSV, JSON_LINES

_PROBLEM = "application/problem+json"
_SAYS = {
    400: "The request is wrong; `error` says where, `errors` for each field.",
    401: "No API key that is in force came.",
    403: "The key may not do this; or, without keys, the caller is not let in.",
    404: "There is none.",
    406: "No form of the answer is accepted.",
    408: f"The body was not complete within {BODY_SECONDS:.0f} s.",
    409: "The same payment is under way, or was made before.",
    413: f"The body is longer than {BODY_LIMIT:,} bytes.",
    415: "The body is compressed, or in another charset than UTF-8.",
    421: "It is on another server's disk: ask again on a new connection.",
    422: "The bank refused it, or the Idempotency-Key or override belongs to another payment.",
    429: "The key sends more than its rate.",
    500: "Paydesk failed; its log says why.",
    503: "The database, the bank or a thread is not to be had just now.",
    504: "It is not known yet whether it was done.",
    507: "Jobs take all the disk that they may: fetch results, and DELETE their jobs.",
}
ROWS = ("text/plain", JSON_LINES, CSV, ARROW)
_INPUT_ERRORS = (400, 408, 413, 415)
_ABOUT = f"""Fraud scores, payment e-mails and payments.

Every error is `{_PROBLEM}` (RFC 9457) with `error`, one sentence for a person. Every answer has
`X-Request-ID`: the one that was sent, if it is 1 to 64 of A-Z a-z 0-9 . _ -, else a new one.
Bodies are read as JSON whatever their Content-Type; in UTF-8, up to {BODY_LIMIT:,} bytes, nested
up to {DEEPEST} levels, with each name once.
"""


def document(contract: Contract) -> dict[str, Any]:
    """The OpenAPI document."""
    operations = [operation for methods in contract.values() for operation in methods.values()]
    ins = {model for op in operations for model in (op.body, op.rows) if model is not None}
    outs = {op.answer.model for op in operations if op.answer.model}
    outs |= {Problem, TransactionNotFound, *(op.problem for op in operations)}
    refs, schemas = models_json_schema(
        [(model, "validation") for model in sorted(ins, key=lambda model: model.__name__)]
        + [(model, "serialization") for model in sorted(outs, key=lambda model: model.__name__)],
        ref_template="#/components/schemas/{model}",
    )
    ref = {(model, mode): schema for (model, mode), schema in refs.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Paydesk",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            path: {
                method.lower(): _operation(path, op, ref, contract)
                for method, op in methods.items()
            }
            for path, methods in contract.items()
        },
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, made with `paydesk keys new`.",
                }
            },
        },
    }


def _operation(path: str, op: Operation, ref: dict[Any, Any], contract: Contract) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": op.handler.__name__,
        "summary": op.summary,
        "parameters": _parameters(path, op),
        "responses": {
            str(op.status): _good(op, ref, contract),
            **{str(status): _bad(path, op, status, ref) for status in _errors(op)},
        },
    }
    if op.need != "open":
        described["security"] = [{"key": []}]
        if op.need != "any":
            described["description"] = f"Needs a key with the scope `{op.need}`."
    if op.body is not None or op.any_object:
        schema: dict[str, Any] = {"type": "object"}
        example: Any = {"a": 1}
        if op.body is not None:
            schema = ref[op.body, "validation"]
            example = op.body.model_json_schema()["example"]
        content = {JSON: {"schema": schema, "examples": {"usual": {"value": example}}}}
        described["requestBody"] = {"required": True, "content": content}
    if op.rows is not None:
        row = op.rows.__name__
        says = f"JSON Lines: an object a line, each a {row}; or CSV, or an Arrow IPC stream."
        text = {"schema": {"type": "string", "description": says}}
        # No body has no rows.
        described["requestBody"] = {"required": False, "content": dict.fromkeys(ROWS, text)}
    return described


def _errors(op: Operation) -> list[int]:
    errors = {400, 403, 500, *op.errors}
    if op.rows is not None:
        errors |= {406, *_INPUT_ERRORS}
    if op.need != "open":
        errors |= {401, 429}
    if op.body is not None or op.any_object:
        errors |= set(_INPUT_ERRORS)
    return sorted(errors)


def _good(op: Operation, ref: dict[Any, Any], contract: Contract) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object" if op.answer.media == (JSON,) else "string"}
    if op.answer.model is not None:
        schema = ref[op.answer.model, "serialization"]
    content = {media: {"schema": schema} for media in op.answer.media}
    if op.answer.example is not None:
        content[op.answer.media[0]]["examples"] = {"usual": {"value": op.answer.example}}
    links = {
        name: {
            "operationId": contract[target]["GET"].handler.__name__,
            "parameters": {member: f"$response.body#/{member}"},
        }
        for name, (target, member) in op.leads_to.items()
    }
    good: dict[str, Any] = {
        "description": op.answer.says,
        "headers": _headers(op.answer.headers),
        "content": content,
    }
    return {**good, "links": links} if links else good


def _bad(path: str, op: Operation, status: int, ref: dict[Any, Any]) -> dict[str, Any]:
    model: type[BaseModel] = op.problem
    if status == 404 and path.startswith("/transaction"):
        model = TransactionNotFound
    example = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": "not found" if model is TransactionNotFound else status,
        "detail": _SAYS[status],
        "instance": path,
        "error": _SAYS[status],
        "request_id": "5f0c3c1e9a7b4d21",
    }
    if model is TransactionNotFound:
        example["tx_id"] = "TX0042"
    headers = _headers(op.error_headers.get(status, {}))
    if status in {429, 503}:
        headers["Retry-After"] = {"required": True, "schema": {"type": "string"}}
    if status == 401:
        headers["WWW-Authenticate"] = {"required": True, "schema": {"type": "string"}}
    return {
        "description": op.says.get(status, _SAYS[status]),
        "headers": headers,
        "content": {
            _PROBLEM: {
                "schema": ref[model, "serialization"],
                "examples": {"usual": {"value": example}},
            }
        },
    }


def _headers(described: Mapping[str, str]) -> dict[str, Any]:
    # None of these comes with every answer; X-Request-ID does, and needs no words.
    headers: dict[str, Any] = {"X-Request-ID": {"schema": {"type": "string"}}}
    for name, says in described.items():
        headers[name] = {"schema": {"type": "string"}, "description": says}
    return headers


def _parameters(path: str, op: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for step in path.split("/"):
        if step.startswith("{"):
            # No control character is in an id: see resource.py.
            schema = {"type": "string", "minLength": 1, "pattern": r"^[^\x00-\x1f]+$"}
            found.append({"name": step[1:-1], "in": "path", "required": True, "schema": schema})
    for name, says in op.headers.items():
        schema = {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[ -~]+$"}
        found.append({"name": name, "in": "header", "schema": schema, "description": says})
    if op.query is not None:
        for name, schema in op.query.model_json_schema()["properties"].items():
            says = schema.pop("description", "")
            schema.pop("title", None)
            found.append(
                {"name": name, "in": "query", "schema": _present(schema), "description": says}
            )
    return found


def _present(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a query parameter that is there: null is not a way to write one."""
    kinds = [kind for kind in schema.get("anyOf", []) if kind.get("type") != "null"]
    rest = {name: value for name, value in schema.items() if name not in {"anyOf", "default"}}
    if len(kinds) == 1:
        return {**kinds[0], **rest}
    if schema.get("default") is not None:
        rest["default"] = schema["default"]
    return rest
