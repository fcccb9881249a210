"""An answer in parts, for clients that take them at some speed: one that stops is left."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from time import monotonic
from typing import TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

ABORT = "paydesk.abort"  # Where the scope has what ends its connection at once.
SLOWEST = 64 * 1024  # bytes a second, on average
SLACK_S = 20.0

_log = logging.getLogger(__name__)
_Part = TypeVar("_Part", str, bytes)


class _SlowReaderError(Exception):
    """The client takes the answer so slowly that it is left."""


class Streamed(StreamingResponse):
    """Parts are made as they are taken, and closed with what makes them, however it ends."""

    def __init__(
        self, parts: AsyncGenerator[str] | AsyncGenerator[bytes], headers: Mapping[str, str]
    ) -> None:
        super().__init__(parts, 200, headers)
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, as far as the client takes it."""
        sent, waited = 0, 0.0

        async def send_in_time(message: Message) -> None:
            nonlocal sent, waited
            began = monotonic()
            try:
                async with asyncio.timeout(SLACK_S + min(0.0, sent / SLOWEST - waited)):
                    await send(message)
            except TimeoutError as error:
                raise _SlowReaderError from error
            waited += monotonic() - began
            sent += len(message.get("body", b""))

        async with aclosing(self._parts):
            try:
                await super().__call__(scope, receive, send_in_time)
            except _SlowReaderError:
                _log.warning("An answer was not taken in time: its connection is ended")
                # Closed only, it would stay until the client has taken what is left.
                if abort := scope.get(ABORT):
                    abort()
                await asyncio.sleep(0)  # The connection is told.


async def after(first: _Part, rest: AsyncGenerator[_Part]) -> AsyncGenerator[_Part]:
    """`first`, and then the rest."""
    async with aclosing(rest):
        yield first
        async for part in rest:
            yield part
