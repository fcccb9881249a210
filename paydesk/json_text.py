"""Turns the bytes of a body into one JSON object, more strictly than parsers do by themselves.

RFC 8259 leaves open what two members of one name mean, and parsers disagree: whoever checks a
payment may read one of them and the bank the other. So a name may stand once. Whole numbers keep
all their digits; a nesting deeper than 64 is refused.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import orjson

DEEPEST = 64
# A number that may pass 64 bits, of which orjson makes a float; a name that `":` does not find.
_NEEDS_CARE = re.compile(rb'[0-9]{16}|"[ \t\r\n]+:')


def whole_number(value: Any) -> Any:
    """A JSON number without fraction as an int; anything else is left to fail as what it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


class JsonTextError(ValueError):
    """The text is not what Paydesk takes for a JSON object; the message is one sentence."""


def parse_object(body: bytes, *, exact: bool = False, what: str = "The body") -> dict[str, Any]:
    """The one JSON object of `body`, in UTF-8; `exact`: numbers with a point are Decimals.

    Raises JsonTextError, whose message begins with `what`.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise JsonTextError(f"{what} {_not_json(body, error)}") from error
    if not isinstance(parsed, dict):
        message = f"{what} must be one JSON object, not {_kind(parsed)}."
        raise JsonTextError(message)
    if not exact and _surely_plain(body, parsed):
        return parsed
    try:
        return _parsed_with_care(body, Decimal if exact else float)
    except JsonTextError as error:
        message = f"{what} {error}"
        raise JsonTextError(message) from error


def _surely_plain(body: bytes, parsed: dict[str, Any]) -> bool:
    return surely_plain(body, objects=1, members=len(parsed))


def surely_plain(text: bytes, *, objects: int, members: int) -> bool:
    """Whether a quick parser has read `text`, of so many flat objects, as `parse_object` does.

    `members` are all those that it found. A repeated name brings a quote with a colon and no
    member. Counting bytes costs a tenth of a careful parse; False only means that it is needed.
    """
    return (
        text.count(b'":') == members
        and b"\\" not in text
        and text.count(b"{") == objects
        and text.count(b"[") == 0
        and _NEEDS_CARE.search(text) is None
    )


def _parsed_with_care(body: bytes, number: Callable[[str], Any]) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(body, object_pairs_hook=_once_each, parse_float=number)
    except RecursionError as error:
        raise JsonTextError(_too_deep()) from error
    except JsonTextError:
        raise
    except ValueError as error:  # Python's own limit on the digits of a whole number.
        message = "has a number with more digits than Paydesk reads, which is 4,300."
        raise JsonTextError(message) from error
    if body.count(b"{") + body.count(b"[") > DEEPEST and _depth(parsed) > DEEPEST:
        raise JsonTextError(_too_deep())
    return parsed


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = counts.most_common(1)[0][0]
        message = f"names {twice[:40]!r} twice; send each name once."
        raise JsonTextError(message)
    return members


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
    return depth


def _too_deep() -> str:
    return f"nests deeper than {DEEPEST} levels, the most that Paydesk reads."


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> str:
    if not body.strip():
        return "is empty; it must be one JSON object."
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as found:
        return f"is not UTF-8 at byte {found.start}; JSON is sent in UTF-8."
    return f"is not valid JSON: {error}."


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean"}
    return kinds.get(type(value), "null")
