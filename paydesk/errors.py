"""The one root of every error whose message is meant for the person at the other end."""

from pydantic import ValidationError


class PaydeskError(Exception):
    """Something the caller can act on; the message names the value, the limit and the next step."""


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """What pydantic found, in words, a field each: `Missing required field 'amount'`."""
    fields = []
    for found in error.errors(include_url=False, include_context=False, include_input=False):
        name = ".".join(str(step) for step in found["loc"]) or "body"
        missing = found["type"] == "missing"
        said = found["msg"].removeprefix("Value error, ")
        reason = f"Missing required field '{name}'" if missing else f"{name}: {said}"
        fields.append({"field": name, "reason": reason})
    return fields
