"""Turns hand-written mail with inline markup, `<<tag|surface>>`, into text with tagged spans."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paydesk.errors import PaydeskError

TAGS = frozenset(
    ["to_org", "to_per", "from_org", "from_per", "amt", "cur", "org", "per", "money", "date", "ref"]
)
FIELDS = ("amount", "currency", "accountA", "accountB")

_MARK = re.compile(r"<<(\w+)\|(.+?)>>", re.DOTALL)


class MailError(PaydeskError):
    """A file of annotated mail cannot be used; the message names file, line and field."""


@dataclass(frozen=True)
class Span:
    """A tagged stretch of characters, `text[start:end]`."""

    start: int
    end: int
    tag: str


@dataclass(frozen=True)
class Mail:
    """An annotated e-mail: text, spans in order, and the form's fields as they should be."""

    id: str
    text: str
    spans: tuple[Span, ...]
    fields: dict[str, str | None]

    @property
    def asks_for_payment(self) -> bool:
        """Whether any field is filled."""
        return any(value is not None for value in self.fields.values())


def parse(marked: str) -> tuple[str, tuple[Span, ...]]:
    """The text without its markup, and the spans that were marked."""
    pieces: list[str] = []
    spans: list[Span] = []
    done = length = 0
    for mark in _MARK.finditer(marked):
        before, surface = marked[done : mark.start()], mark.group(2)
        start = length + len(before)
        length = start + len(surface)
        pieces += [before, surface]
        spans.append(Span(start, length, mark.group(1)))
        done = mark.end()
    pieces.append(marked[done:])
    return "".join(pieces), tuple(spans)


def load_marked(path: Path) -> list[Mail]:
    """Every mail of a JSONL file of hand-written mail, one object a line.

    Raises MailError with file and line for a mail that cannot be read or is wrongly annotated.
    """
    mails = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            mails.append(_mail(line, f"{path}, line {number}"))
    return mails


def _mail(line: str, where: str) -> Mail:
    try:
        row: dict[str, Any] = json.loads(line)
        text, spans = parse(row["text"])
        fields = {name: row["fields"][name] for name in FIELDS}
    except (ValueError, KeyError, TypeError) as error:
        message = f"{where}: not an annotated mail ({error!r}); see the corpus's README."
        raise MailError(message) from error
    unknown = sorted({span.tag for span in spans} - TAGS)
    if unknown:
        message = (
            f"{where}: the tag {unknown[0]!r} is unknown; use one of {', '.join(sorted(TAGS))}."
        )
        raise MailError(message)
    return Mail(str(row["id"]), text, spans, fields)
