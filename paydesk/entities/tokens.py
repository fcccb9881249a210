"""Turns text into tokens that keep their character offsets: nothing about the text is lost."""

import re
from typing import NamedTuple

_LETTER = r"[^\W\d_]|[\u0300-\u036f]"

# Order matters: the first alternative that matches wins.
_TOKEN = re.compile(
    rf"""
      \n(?:[^\S\n]*\n)*                                   # a line's end, with the blank lines after
    | https?://\S+ | www\.\S+
    | [\w.+-]{{1,64}}@[\w-]+(?:\.[\w-]+)+                  # an e-mail address (RFC 5321: 64)
    | \d+(?:[.,'’]\d+)*                                   # a number with its separators
    | (?:(?:{_LETTER})\.){{2,}}                           # o.o.  S.A.  s.r.o.  J.R.
    | ['’](?:s|S)(?!\w)                                   # the possessive stands alone
    | (?:{_LETTER})+(?:['’-](?!(?:s|S)(?!\w))(?:{_LETTER})+)*   # O'Leary, Pritchard-Jones
    | ([-=_*.~#])\1{{2,}}                                 # a ruled line
    | \S
    """,
    re.VERBOSE,
)


class Token(NamedTuple):
    """A piece of the text: `text == whole[start:end]`."""

    text: str
    start: int
    end: int


def tokenize(text: str) -> list[Token]:
    """The tokens of `text` in order, blanks left out, line ends kept as tokens of their own.

    Tokens never overlap, and what lies between two of them is white space only, so that tokens and
    gaps joined give back the text.
    """
    return [Token(m.group(), m.start(), m.end()) for m in _TOKEN.finditer(text)]
