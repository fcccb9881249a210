"""Turns files of mail (plain text, HTML, .eml) into text, the quoted history set apart."""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import quotequail  # type: ignore[import-untyped]
from lxml import etree  # type: ignore[import-untyped]
from lxml import html as markup

from paydesk.entities.message import subject_and_body
from paydesk.entities.reader import Reader
from paydesk.errors import PaydeskError

_HIDDEN = ("script", "style", "head", "template", "noscript")
_BREAKS = (
    "p", "div", "tr", "li", "ul", "ol", "table", "blockquote", "h1", "h2", "h3", "h4", "pre", "hr",
    "br",
)  # fmt: skip
_CELLS = ("td", "th")
_BLANKS = re.compile(r"\s+")
# XHTML that Outlook writes. The text is decoded by now, and lxml refuses one that says how; one
# without an end costs it the square of its length. To HTML they are all comments.
_INSTRUCTION = re.compile(r"<\?[^>]*>?")
_LONGEST_HTML = 300_000  # characters; a stranger makes lxml slow with more
_HTML = (".html", ".htm")
_LARGEST = 4 * 1024 * 1024  # bytes of one mail
# Where quoted mail begins: quotequail tries eighty patterns a line, some for each of its blanks.
_MOST_LINES = 3_000
_LONGEST_LINE = 400  # characters


class UnreadableMailError(PaydeskError):
    """A file holds no mail that could be read; the message names it."""


def html_to_text(html: str) -> str:
    """The text that a person would see of an HTML body, one line a block.

    Of a body past 300,000 characters it is that of the beginning.
    """
    html = _INSTRUCTION.sub("", html[:_LONGEST_HTML])
    if not html.strip():
        return ""
    try:
        tree = markup.document_fromstring(html)
    except etree.ParserError:  # nothing in it but comments
        return ""
    pieces: list[str] = []
    for event, node in etree.iterwalk(tree, events=("start", "end", "comment")):
        if event == "comment":
            pieces.append(node.tail or "")
            continue
        edge = "\n" if node.tag in _BREAKS else "  " if node.tag in _CELLS else ""
        seen = node.tag not in _HIDDEN
        if event == "start":
            pieces.append(edge if edge == "\n" else "")
            pieces.append(_one_line(node.text) if seen else "")
        else:
            pieces += ["" if node.tag == "br" else edge, _one_line(node.tail)]
    lines = [line.strip() for line in "".join(pieces).splitlines()]
    return "\n".join(line for i, line in enumerate(lines) if line or (i and lines[i - 1])).strip()


def _one_line(text: str | None) -> str:
    return _BLANKS.sub(" ", text or "")


def eml_to_text(raw: bytes) -> str:
    """The subject and the body of a message in the form it travels in (RFC 5322, MIME)."""
    subject, body, in_html = subject_and_body(raw)
    text = html_to_text(body) if in_html else body.replace("\r\n", "\n")
    return (f"Subject: {subject}\n\n{text.strip()}" if subject else text).strip()


def split_history(text: str) -> tuple[str, str]:
    """What the sender wrote now, and the quoted mail below it; a forwarded mail counts as now."""
    lines = text.split("\n")
    looked_at = (line if len(line) <= _LONGEST_LINE else "…" for line in lines[:_MOST_LINES])
    parts = quotequail.quote("\n".join(looked_at), limit=_MOST_LINES + 1)
    begins = len(lines) if len(parts) == 1 else parts[0][1].count("\n") + 1
    return "\n".join(lines[:begins]).strip(), "\n".join(lines[begins:]).strip()


def read_text(path: Path) -> str:
    """The text of a file of mail, by its suffix: .eml, .html or .htm, else plain text.

    Raises UnreadableMailError when it cannot be opened or is too large for a mail.
    """
    try:
        if path.stat().st_size > _LARGEST:
            message = f"{path} has more than {_LARGEST} bytes; give one mail a file, or JSONL."
            raise UnreadableMailError(message)
        raw = path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; name a file of mail."
        raise UnreadableMailError(message) from error
    if path.suffix.lower() == ".eml":
        return eml_to_text(raw)
    text = raw.decode("utf-8", "replace")
    return html_to_text(text) if path.suffix.lower() in _HTML else text


def read_files(reader: Reader, paths: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """One answer a mail, in order: `{"file", "amount", "currency", "accountA", "accountB", …}`.

    A `.jsonl` file holds one mail a line, `{"text": …}`, and is read line by line; any other file
    is one mail. A mail that cannot be read yields `{"file", "error"}`, and the rest goes on.
    """
    for path in paths:
        if path.suffix.lower() == ".jsonl":
            yield from _read_lines(reader, path)
            continue
        try:
            text = read_text(path)
        except UnreadableMailError as error:
            yield {"file": str(path), "error": str(error)}
            continue
        yield _answer(reader, str(path), text)


def _read_lines(reader: Reader, path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                where = f"{path}, line {number}"
                try:
                    text = json.loads(line)["text"]
                except (ValueError, KeyError, TypeError):
                    text = None
                if isinstance(text, str):
                    yield _answer(reader, where, text)
                else:
                    yield {"file": where, "error": f'{where}: no {{"text": …}}; mend the line.'}
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; name a file of mail."
        yield {"file": str(path), "error": message}


def _answer(reader: Reader, where: str, text: str) -> dict[str, Any]:
    answer = reader.read(text)
    _, history = split_history(text)
    return {"file": where, **answer.model_dump(), "quoted_characters": len(history)}
