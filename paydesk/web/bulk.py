"""Bulk over HTTP: a body of rows in, answers row by row out, in memory that does not grow.

The body arrives whole first, on disk past a megabyte: a client that sends all before it reads would
else wait for an answer that waits for it. Then a piece of rows after the other is read, scored,
logged and sent, as fast as the client takes it.
"""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import BinaryIO, cast

from starlette.requests import Request

from paydesk.bulk.unpacking import BrokenOffError
from paydesk.errors import PaydeskError
from paydesk.storage.decision_log import DecisionLog
from paydesk.web.errors import (
    BadRequestError,
    BodyTooLargeError,
    BodyTooSlowError,
    SpoolError,
)
from paydesk.web.lanes import Lane, LaneBusyError
from paydesk.web.row_forms import Wanted
from paydesk.web.row_work import Work, last_row, opened
from paydesk.web.streamed import SLOWEST

BULK_LIMIT = 64 * 1024 * 1024
BULK_ROWS = 1_000_000
SILENCE_S = 15.0

_MOST_BODIES = 16
_IN_MEMORY = 1024 * 1024


class Bulk:
    """The bodies that a worker is busy with: so many at once, and one thread for their rows."""

    def __init__(self, home: Path, log: DecisionLog) -> None:
        """Bodies are kept in `home` until they are answered; decisions go into `log`."""
        self.lane = Lane("bulk", threads=1, waiting=_MOST_BODIES, deadline_s=60)
        self._home = home
        self._log = log
        self._under_way = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """One of the places for bodies. Raises LaneBusyError."""
        if self._under_way >= _MOST_BODIES:
            message = f"Paydesk is busy: {_MOST_BODIES} bodies of rows are under way."
            raise LaneBusyError(f"{message} Send it again in some seconds.")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def answer(self, request: Request, asked: Wanted, work: Work) -> AsyncGenerator[bytes]:
        """Takes the body, and gives the answer part by part.

        Raises LaneBusyError at once, and what `receive` and `opened` raise before the first part.
        """
        with (
            self.place(),
            tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self._home)) as spooled,
        ):
            body = cast(BinaryIO, spooled)
            await receive(request, body.write, self.lane)
            body.seek(0)
            async for part in self._answers(body, asked, work):
                yield part

    async def _answers(self, body: BinaryIO, asked: Wanted, work: Work) -> AsyncGenerator[bytes]:
        """The first part brings what comes before all rows.

        What fails before that is raised. What fails later becomes a last row that says so.
        """
        blocks = await self.lane.run(opened, body, asked, work, BULK_ROWS)
        begun, line = False, 1
        while True:
            try:
                block = await self.lane.run(next, blocks, None)
                if block is None:
                    break
                answered = await self.lane.run(work.answer, block)
                if answered.logged:
                    await self._log.append_all(answered.logged)
                    await self.lane.run(work.done, answered)
                part = answered.part
            except PaydeskError as error:
                if not begun and not isinstance(error, BrokenOffError):
                    raise
                why = str(error)
                if not isinstance(error, BrokenOffError):
                    why = f"{why} No row from this one on is answered.{work.late}"
                part, block = last_row(work, line, why), None
            yield part if begun else work.form.head() + part
            begun = True
            if block is None:
                break
            line = max(line - 1, block.last) + 1
        if not begun:
            yield work.form.head()
        yield work.form.end()

    def close(self) -> None:
        """Waits for the rows that are being worked on."""
        self.lane.close()


async def receive(request: Request, write: Callable[[bytes], object], lane: Lane) -> int:
    """Gives the body to `write`, a megabyte at a time on `lane`; how long it is.

    Raises BodyTooLargeError, BodyTooSlowError, BadRequestError or SpoolError.
    """
    too_large = BodyTooLargeError(
        f"The body is longer than {BULK_LIMIT:,} bytes, the most that this route takes: compress "
        "it, or send it in parts."
    )
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > BULK_LIMIT:
        raise too_large
    size, parts, kept, more, waited = 0, list[bytes](), 0, True, 0.0
    try:
        while more:
            began = monotonic()
            async with asyncio.timeout(SILENCE_S + min(0.0, size / SLOWEST - waited)):
                message = await request.receive()
            waited += monotonic() - began
            if message["type"] == "http.disconnect":
                raise BadRequestError("The connection closed before the body was complete.")
            part, more = message.get("body", b""), message.get("more_body", False)
            parts.append(part)
            size, kept = size + len(part), kept + len(part)
            if size > BULK_LIMIT:
                raise too_large
            if kept >= _IN_MEMORY or not more:
                await lane.run(write, b"".join(parts))
                parts, kept = [], 0
    except TimeoutError as error:
        why = (
            f"Nothing of the body came for {SILENCE_S:.0f} s, or less than {SLOWEST:,} bytes a "
            "second; send it faster."
        )
        raise BodyTooSlowError(why) from error
    except OSError as error:
        why = f"The body could not be kept ({error.strerror}). Send it again later."
        raise SpoolError(why) from error
    return size
