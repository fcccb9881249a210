"""Blocking work in threads of its own kind: payments that wait for the bank stop no look-up."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from time import monotonic
from typing import Generic, ParamSpec, TypeVar

from paydesk.errors import PaydeskError

_P = ParamSpec("_P")
_T = TypeVar("_T")


class LaneBusyError(PaydeskError):
    """All threads of this kind of work are busy, and as many as may wait do."""

    retry_after_s = 2


class LaneLateError(PaydeskError):
    """The work was not done in time; it may still end well."""


class Lane:
    """So many threads for one kind of work, a bounded queue before them, and a deadline."""

    def __init__(self, name: str, *, threads: int, waiting: int, deadline_s: float) -> None:
        self._name = name
        self._most = threads + waiting
        self._deadline_s = deadline_s
        self._under_way = 0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    async def run(self, work: Callable[_P, _T], /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        """What `work` returns. Raises LaneBusyError, LaneLateError, or what `work` raises."""
        if self._under_way >= self._most:
            message = f"Paydesk is busy: {self._most} requests of this kind are under way."
            raise LaneBusyError(f"{message} Send it again in some seconds.")
        self._under_way += 1
        future = asyncio.get_running_loop().run_in_executor(
            self._threads, partial(work, *arguments, **named)
        )
        # Counted until the thread is free, not until the caller has gone.
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._deadline_s)
        except TimeoutError as error:
            if future.done():
                raise
            message = f"This was not done within {self._deadline_s:.0f} s; it may still be."
            raise LaneLateError(f"{message} Look it up before you send it again.") from error

    def call(self, work: Callable[_P, _T], /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        """The same for a thread, which may wait its turn as long as that takes.

        It is in nobody's queue. Raises RuntimeError when the lane is closed.
        """
        return self._threads.submit(work, *arguments, **named).result()

    def _leave(self, future: "asyncio.Future[_T]") -> None:
        self._under_way -= 1
        if not future.cancelled():
            future.exception()  # Seen: a caller that has gone leaves no "never retrieved" in logs.

    def close(self) -> None:
        """Waits for the work that is under way; what has not begun has nobody left who waits."""
        self._threads.shutdown(wait=True, cancel_futures=True)


class Shared(Generic[_T]):
    """One piece of work for all who ask meanwhile, and for who asks up to `fresh_s` after it."""

    def __init__(self, work: Callable[[], Awaitable[_T]], *, fresh_s: float) -> None:
        self._work = work
        self._fresh_s = fresh_s
        self._fresh_until = 0.0
        self._under_way: asyncio.Future[_T] | None = None

    async def get(self) -> _T:
        """What the work returns. Raises what it raises, also to all."""
        found = self._under_way
        if found is None or (found.done() and monotonic() >= self._fresh_until):
            found = self._under_way = asyncio.ensure_future(self._done())
        try:
            # A caller that goes ends its own waiting only.
            return await asyncio.shield(found)
        except PaydeskError as error:
            # Raised to each, it would gather the frames of all.
            raise error.with_traceback(None)  # noqa: B904 (it is the same error)

    async def _done(self) -> _T:
        try:
            return await self._work()
        finally:
            self._fresh_until = monotonic() + self._fresh_s
