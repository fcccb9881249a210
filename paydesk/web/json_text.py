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
_LONG_NUMBER = re.compile(rb"[0-9]{16}")  # orjson makes a float of what passes 64 bits.


class JsonTextError(ValueError):
    """The text is not what Paydesk takes for a JSON object; the message is one sentence."""


def parse_object(body: bytes, *, exact: bool = False) -> dict[str, Any]:
    """The one JSON object of `body`, in UTF-8; `exact`: numbers with a point are Decimals.

    Raises JsonTextError.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise JsonTextError(_not_json(body, error)) from error
    if not isinstance(parsed, dict):
        message = f"The body must be one JSON object, not {_kind(parsed)}."
        raise JsonTextError(message)
    if not exact and _surely_plain(body, parsed):
        return parsed
    return _parsed_with_care(body, Decimal if exact else float)


def _surely_plain(body: bytes, parsed: dict[str, Any]) -> bool:
    # Counting bytes costs a tenth of a careful parse. As many colons as members means that no
    # member was dropped as a repetition: a repeated name brings a colon and no member.
    return (
        body.count(b":") == len(parsed)
        and body.count(b"{") + body.count(b"[") == 1
        and _LONG_NUMBER.search(body) is None
    )


def _parsed_with_care(body: bytes, number: Callable[[str], Any]) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(body, object_pairs_hook=_once_each, parse_float=number)
    except RecursionError as error:
        raise JsonTextError(_too_deep()) from error
    except JsonTextError:
        raise
    except ValueError as error:  # Python's own limit on the digits of a whole number.
        message = "The body has a number with more digits than Paydesk reads, which is 4,300."
        raise JsonTextError(message) from error
    if body.count(b"{") + body.count(b"[") > DEEPEST and _depth(parsed) > DEEPEST:
        raise JsonTextError(_too_deep())
    return parsed


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = counts.most_common(1)[0][0]
        message = f"The body names {twice[:40]!r} twice; send each name once."
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
    return f"The body nests deeper than {DEEPEST} levels, the most that Paydesk reads."


def _not_json(body: bytes, error: orjson.JSONDecodeError) -> str:
    if not body.strip():
        return "The body is empty; it must be one JSON object."
    try:
        body.decode("utf-8")
    except UnicodeDecodeError as found:
        return f"The body is not UTF-8 at byte {found.start}; JSON is sent in UTF-8."
    return f"The body is not valid JSON: {error}."


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a boolean"}
    return kinds.get(type(value), "null")
