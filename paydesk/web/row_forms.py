"""Which forms a body of rows and its answer have, as the request's headers say it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request

from paydesk.bulk.unpacking import Coding
from paydesk.web.errors import BodyEncodingError, NotAcceptableError

JSON_LINES, CSV, ARROW = "application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream"

Rows = Literal["jsonl", "csv", "arrow"]
_FORMS: Mapping[str, Rows] = {
    JSON_LINES: "jsonl",
    "application/jsonl": "jsonl",
    "application/json": "jsonl",
    "text/plain": "jsonl",
    "application/x-www-form-urlencoded": "jsonl",  # What curl says unasked.
    "application/octet-stream": "jsonl",
    "": "jsonl",
    CSV: "csv",
    ARROW: "arrow",
}
_ANSWERS: Mapping[str, Rows] = {JSON_LINES: "jsonl", CSV: "csv", ARROW: "arrow"}
_CODINGS: Mapping[str, Coding] = {
    "": "identity",
    "identity": "identity",
    "gzip": "gzip",
    "x-gzip": "gzip",
    "zstd": "zstd",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a body is to be read, and its answer written."""

    rows: Rows
    coding: Coding
    answer: Rows


def media_type(answer: Rows) -> str:
    """The media type of an answer of this form."""
    media = next(media for media, rows in _ANSWERS.items() if rows == answer)
    return f"{media}; charset=utf-8" if answer == "csv" else media


def wanted(request: Request) -> Wanted:
    """What the headers say. Raises BodyEncodingError or NotAcceptableError."""
    kind, _, parameters = request.headers.get("content-type", "").partition(";")
    rows = _FORMS.get(kind.strip().lower())
    if rows is None:
        message = f"Rows come as {JSON_LINES}, {CSV} or {ARROW}, not as {kind.strip()[:60]!r}."
        raise BodyEncodingError(message)
    charset = parameters.lower().partition("charset=")[2].partition(";")[0].strip(" \"'")
    if charset not in {"", "utf-8", "utf8", "us-ascii", "ascii"}:
        raise BodyEncodingError(f"The charset {charset[:40]!r} is not read here; send UTF-8.")
    coding = _CODINGS.get(request.headers.get("content-encoding", "").strip().lower())
    if coding is None:
        raise BodyEncodingError("The Content-Encoding is gzip or zstd here, or none.")
    return Wanted(rows, coding, _accepted(request.headers.get("accept", "*/*")))


def _accepted(header: str) -> Rows:
    best: tuple[float, Rows] | None = None
    for part in header.split(","):
        media, _, parameters = part.partition(";")
        media = media.strip().lower()
        try:
            weight = float(parameters.replace(" ", "").partition("q=")[2].partition(";")[0] or 1)
        except ValueError:
            weight = 0.0
        found = _ANSWERS.get(media)
        if media in {"*/*", "application/*", "application/jsonl", "application/json", ""}:
            found = "jsonl"
        elif media == "text/*":
            found = "csv"
        if found is not None and weight > 0 and (best is None or weight > best[0]):
            best = weight, found
    if best is None:
        raise NotAcceptableError(f"Answers are {JSON_LINES}, {CSV} or {ARROW}; accept one of them.")
    return best[1]
