"""Tells for every line of a mail what part of it the line is: header, greeting, body, quote…"""

import re
from collections.abc import Sequence
from typing import Literal

from paydesk.entities.lexicon import GREETINGS, SIGN_OFFS
from paydesk.entities.tokens import Token

Zone = Literal["header", "greeting", "body", "item", "quote", "signature"]

_HEADER = frozenset(
    [
        "from",
        "to",
        "cc",
        "bcc",
        "subject",
        "date",
        "sent",
        "re",
        "fw",
        "fwd",
        "betreff",
        "von",
        "an",
        "gesendet",
        "de",
    ]
)
_ITEM = frozenset(["-", "*", "•", "–", "—", "·", "+", "▪", ">"])
_WROTE = re.compile(r"\b(wrote|schrieb|a écrit|napisał|napisała|escribió|skrev)\b", re.IGNORECASE)
_LONGEST_SIGNATURE = 12  # lines


def split_lines(tokens: Sequence[Token]) -> list[tuple[int, int]]:
    """The lines as half-open ranges of token indices, line ends left out, empty lines dropped."""
    lines = []
    start = 0
    for index, token in enumerate(tokens):
        if token.text[0] == "\n":
            if index > start:
                lines.append((start, index))
            start = index + 1
    if len(tokens) > start:
        lines.append((start, len(tokens)))
    return lines


def zones(tokens: Sequence[Token], lines: Sequence[tuple[int, int]]) -> list[Zone]:
    """The zone of every line."""
    found: list[Zone] = []
    signing = 0
    for number, (start, end) in enumerate(lines):
        words = [token.text.lower() for token in tokens[start : min(end, start + 24)]]
        zone = _zone(words, end - start, number, tokens[end - 1].text)
        if zone in ("header", "quote") or end - start > 14:
            signing = 0
        elif signing:
            signing -= 1
            zone = "signature"
        elif number and end - start <= 6 and _signs_off(words):
            signing = _LONGEST_SIGNATURE
            zone = "signature"
        found.append(zone)
    return found


def _zone(words: list[str], length: int, number: int, last: str) -> Zone:
    first = words[0]
    if first == ">":
        return "quote"
    if len(words) > 1 and words[1] == ":" and first in _HEADER:
        return "header"
    if first[:3] in ("---", "___") or _WROTE.search(" ".join(words)):
        return "header"
    if number <= 1 and length <= 8 and (first in GREETINGS or last in ",!"):
        return "greeting"
    if first in _ITEM or (first[0].isdigit() and len(words) > 1 and words[1] in (".", ")")):
        return "item"
    return "body"


def _signs_off(words: list[str]) -> bool:
    return any(word in SIGN_OFFS for word in words)
