"""Finds subject and body of a message as it travels (RFC 5322, MIME), whatever it is made of.

A stranger wrote it. What would cost Python's parser time, memory and stack without end, headers of
any length and parts in parts, has an end here; and what it says of its character set may be a lie.
"""

import codecs
import email
from collections.abc import Iterator
from contextlib import suppress
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.policy import Compat32
from typing import Any

_LONGEST_HEADER = 2_000  # characters: RFC 5322 has lines of 998
_MOST_PARTS = 20  # The text comes before what is attached to it.
# Codecs that Python has beside the character sets: one is slow without bound, others fail.
_NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}


class _EnoughError(Exception):
    """The message has more parts than are looked at."""


class _Part(Message):
    """A part whose parameters (RFC 2231) may be nonsense: then it has none."""

    def get_boundary(self, failobj: Any = None) -> Any:
        with suppress(LookupError, TypeError, ValueError):
            return super().get_boundary(failobj)
        return failobj

    def get_content_charset(self, failobj: Any = None) -> Any:
        with suppress(LookupError, TypeError, ValueError):
            return super().get_content_charset(failobj)
        return failobj


class _ShortHeaders(Compat32):
    """Headers as plain text, as far as they are looked at."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        # Bytes past ASCII stand in it one by one; those who send them nowadays mean UTF-8.
        content = value[:_LONGEST_HEADER].encode("utf-8", "surrogateescape")
        return name, content.decode("utf-8", "replace").replace("\0", "")


def subject_and_body(raw: bytes) -> tuple[str, str, bool]:
    """The subject in one line, the body, and whether that is HTML; empty where there is none.

    Of several bodies it is the first plain one, else the first in HTML. Whatever `raw` is, this
    ends, and raises nothing.
    """
    message = _parsed(raw)
    texts = list(_texts(message))
    plain = (part for part in texts if part.get_content_type() == "text/plain")
    part = next(plain, texts[0] if texts else None)
    if part is None:
        return _subject(message), "", False
    content = part.get_payload(decode=True)
    body = (
        _decoded(content, part.get_content_charset("utf-8")) if isinstance(content, bytes) else ""
    )
    return _subject(message), body, part.get_content_type() == "text/html"


def _parsed(raw: bytes) -> Message:
    """The message with its first parts."""
    parts: list[Message] = []

    def begun(policy: Any = None) -> Message:
        # The parser tries this once before it begins.
        if len(parts) > _MOST_PARTS:
            raise _EnoughError
        parts.append(_Part(policy))
        return parts[-1]

    with suppress(_EnoughError):
        # What has been parsed until then hangs on the first.
        email.message_from_bytes(raw, _class=begun, policy=_ShortHeaders())
    return parts[1]


def _texts(part: Message) -> Iterator[Message]:
    """Its texts in order, without what is attached."""
    if part.get_content_disposition() == "attachment":
        return
    if part.is_multipart():
        # A message within a message says what another one wrote.
        if part.get_content_maintype() == "multipart":
            for inner in part.get_payload():
                assert isinstance(inner, Message)  # noqa: S101 (what a list of them holds)
                yield from _texts(inner)
    elif part.get_content_type() in {"text/plain", "text/html"}:
        yield part


def _subject(message: Message) -> str:
    line = " ".join(str(message.get("subject", "")).split())
    try:
        pieces = decode_header(line)
    except HeaderParseError:
        return line
    words = (
        piece if isinstance(piece, str) else _decoded(piece, charset or "ascii")
        for piece, charset in pieces
    )
    return " ".join("".join(words).split())


def _decoded(content: bytes, charset: str) -> str:
    """`content` as text: in UTF-8, which ASCII is a part of, where nobody knows its `charset`."""
    try:
        name = codecs.lookup(charset).name
        known = name not in {*_NO_CHARSETS, "ascii"}
        text = content.decode(name if known else "utf-8", "replace")
    except (LookupError, ValueError):
        text = content.decode("utf-8", "replace")
    # Some sets spell halves of a character, which no JSON carries.
    return text.encode("utf-8", "replace").decode("utf-8")
