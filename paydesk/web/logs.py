"""Logs as JSON lines on standard output: one a request, and what the service has to say.

A line a request is built and written by a thread: what reads the output may be slow, and nobody
who waits for an answer should wait for it. No line carries a body, a path as it was sent, or a
header but the request id.
"""

import logging
import sys
import threading
import traceback
from collections import deque
from datetime import UTC, datetime
from time import perf_counter, time
from typing import Any

import orjson

from paydesk.web.exchange import Exchange

_MOST_WAITING = 10_000
_EVERY_S = 0.2

_Line = tuple[float, str, str, Exchange, int, float]


class RequestLog:
    """Takes a line a request, and writes them together every fifth of a second."""

    def __init__(self) -> None:
        self._lines: deque[_Line] = deque()
        self._dropped = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def add(self, method: str, exchange: Exchange, status: int) -> None:
        """One request was answered."""
        if len(self._lines) >= _MOST_WAITING:
            self._dropped += 1
            return
        took = perf_counter() - exchange.began
        self._lines.append((time(), "request", method, exchange, status, took))

    def close(self) -> None:
        """Writes what waits."""
        self._closing.set()
        self._thread.join(5)

    def _run(self) -> None:
        while not self._closing.wait(_EVERY_S):
            self._write()
        self._write()

    def _write(self) -> None:
        lines = [_request_line(self._lines.popleft()) for _ in range(len(self._lines))]
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(_line(time(), "warning", event="lines dropped", lines=dropped))
        if lines:
            _put(b"".join(lines))


class JsonFormatter(logging.Formatter):
    """A log record as one JSON line; an exception is named by its type and place only.

    Its message stays out: the text of a database's error repeats the values of the row, and the
    traceback's lines never do.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        extra: dict[str, Any] = {"logger": record.name, "message": record.getMessage()}
        if request_id := getattr(record, "request_id", None):
            extra["request_id"] = request_id
        if record.exc_info and record.exc_info[0] is not None:
            extra["exception"] = _chain(record.exc_info[1])
            extra["trace"] = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])
            ]
        line = _line(record.created, record.levelname.lower(), event="log", **extra)
        return line.decode().rstrip("\n")


def configure() -> None:
    """Makes every logger of this process write JSON lines to standard output."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    for name in ("bentoml", "uvicorn", "uvicorn.error", "circus"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    logging.getLogger("paydesk").setLevel(logging.INFO)


def _request_line(line: _Line) -> bytes:
    at, event, method, exchange, status, took = line
    return _line(
        at,
        "info" if status < 500 else "error",
        event=event,
        method=method,
        route=exchange.route,
        status=status,
        duration_s=round(took, 6),
        request_id=exchange.request_id,
        key=exchange.key_id,
    )


def _line(at: float, level: str, **members: Any) -> bytes:
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return orjson.dumps({"at": when, "level": level, **members}, option=orjson.OPT_APPEND_NEWLINE)


def _chain(error: BaseException | None) -> list[str]:
    kinds: list[str] = []
    while error is not None and len(kinds) < 10:
        kinds.append(f"{type(error).__module__}.{type(error).__qualname__}")
        error = error.__cause__ or error.__context__
    return kinds


def _put(lines: bytes) -> None:
    try:
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
    except (OSError, ValueError):
        return  # A log that cannot be written (its disk is full) must not stop what it tells of.
