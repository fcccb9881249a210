"""Logs as JSON lines on standard output: one a request, and what the service has to say.

All lines are written by one thread: what reads the output may be slow or stop, and nobody who waits
for an answer should wait for it. Of what it does not take, the newest is dropped and counted. No
line carries a body, a path as it was sent, or a header but the request id.
"""

import logging
import os
import select
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
_STOP_S = 2.0
_MOST_FRAMES = 40  # The innermost: a recursion has a thousand.

_Line = tuple[float, str, str, Exchange, int, float]


class RequestLog:
    """Takes a line a request and what loggers say, and writes them every fifth of a second."""

    def __init__(self) -> None:
        self._lines: deque[_Line | bytes] = deque()
        self._dropped = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        self._thread.start()

    def add(self, method: str, exchange: Exchange, status: int) -> None:
        """One request was answered."""
        took = perf_counter() - exchange.began
        self._append((time(), "request", method, exchange, status, took))

    def say(self, line: bytes) -> None:
        """A whole line, with its end."""
        self._append(line)

    def close(self) -> None:
        """Writes what waits, if its reader takes it in time; again, what was said since."""
        self._closing.set()
        self._thread.join(_STOP_S)
        if self._lines and not self._thread.is_alive():
            last = threading.Thread(target=self._write, daemon=True)
            last.start()
            last.join(_STOP_S)

    def _append(self, line: _Line | bytes) -> None:
        if len(self._lines) >= _MOST_WAITING:
            self._dropped += 1
            return
        self._lines.append(line)

    def _run(self) -> None:
        while not self._closing.wait(_EVERY_S):
            self._write()
        self._write()

    def _write(self) -> None:
        waiting = [self._lines.popleft() for _ in range(len(self._lines))]
        lines = [line if isinstance(line, bytes) else _request_line(line) for line in waiting]
        dropped, self._dropped = self._dropped, 0
        if dropped:
            lines.append(_line(time(), "warning", event="lines dropped", lines=dropped))
        if lines:
            _put(b"".join(lines))


class _Handler(logging.Handler):
    """Gives records to the thread that writes; whoever logs never waits for the output."""

    def __init__(self, log: RequestLog) -> None:
        super().__init__()
        self._log = log
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record. One that cannot be formatted must not stop what it tells of."""
        try:
            self._log.say(self.format(record).encode() + b"\n")
        except Exception:  # noqa: BLE001 (any message or argument may be the cause)
            name = f"a record of {record.name} could not be formatted"
            self._log.say(_line(record.created, "error", event="log", message=name))

    def close(self) -> None:
        """Called at the end of the process: the last words are written."""
        self._log.close()
        super().close()


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
                for frame in traceback.extract_tb(record.exc_info[2])[-_MOST_FRAMES:]
            ]
        line = _line(record.created, record.levelname.lower(), event="log", **extra)
        return line.decode().rstrip("\n")


def configure(log: RequestLog) -> None:
    """Makes every logger of this process, and every thread that fails, speak through `log`."""
    logging.getLogger().handlers = [_Handler(log)]
    threading.excepthook = _thread_failed
    logging.captureWarnings(True)
    for name in ("bentoml", "uvicorn", "uvicorn.error", "circus"):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    logging.getLogger("paydesk").setLevel(logging.INFO)


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    name = failed.thread.name if failed.thread else "?"
    error = failed.exc_value
    if error is not None:
        logging.getLogger(__name__).error("The thread %s failed", name, exc_info=error)


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
    # Not through sys.stdout: its lock, held by a thread that waits, would fail the process's end.
    try:
        output = sys.stdout.fileno()
        rest = memoryview(lines)
        while rest:
            select.select([], [output], [])
            try:
                rest = rest[os.write(output, rest) :]
            except BlockingIOError:
                continue  # Another process made the pipe we share non-blocking.
    except (OSError, ValueError):
        return  # A log that cannot be written (its disk is full) must not stop what it tells of.
