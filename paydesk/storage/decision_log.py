"""The log of decisions: append-only, on disk before it is acknowledged, written in groups."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Engine, Row

from paydesk.errors import PaydeskError
from paydesk.storage.database import writing
from paydesk.storage.decision_writer import DecisionWriter

_LARGEST_GROUP = 1_000
_LONGEST_WAIT_S = 20.0
_NO_MORE = "The decision log takes no more just now. Send the transaction again."

# By source, where the log had a decision already.
_Earlier = dict[str, Row[Any]]
Beside = Callable[[Connection], None]


class DecisionLogUnavailableError(PaydeskError):
    """The decision could not be put on disk, so it was not made."""

    retry_after_s = 5


class Watch(Protocol):
    """Who is told how the log does; called on the writing thread."""

    def waiting(self, decisions: int) -> None:
        """So many decisions wait for a commit that begins now, or 0 when none is left."""

    def committed(self, decisions: int, seconds: float) -> None:
        """A commit with so many decisions took so long."""


class _Waiting(NamedTuple):
    rows: Sequence[Mapping[str, Any]]
    done: asyncio.Future[_Earlier]
    beside: Beside | None = None


class DecisionLog:
    """Appends decisions.

    One thread writes. While a commit is under way the next decisions wait together, and one commit
    carries them all: durability costs a share of an fsync, not one each. Single decisions and those
    of many rows take turns: no single one waits for more than one commit of a thousand.
    """

    def __init__(
        self, engine: Engine, watch: Watch | None = None, *, most_waiting: int = 20_000
    ) -> None:
        self._engine = engine
        self._writer_of = DecisionWriter(engine)
        self._watch = watch
        self._most_waiting = most_waiting
        self._gathered: list[_Waiting] = []  # by the event loop, not handed over yet
        self._single: list[_Waiting] = []
        self._many: list[_Waiting] = []
        self._next_is_many = False
        self._rows_waiting = 0
        self._changed = threading.Condition()
        self._closing = False
        self._writer = threading.Thread(target=self._write, name="decision-log", daemon=True)
        self._writer.start()

    async def append(self, row: Mapping[str, Any]) -> Row[Any] | None:
        """Returns when `row` (columns of `decisions`) is on disk.

        Where the log has another decision under its `source` already, nothing is written, and that
        one is returned. Raises DecisionLogUnavailableError when it is not on disk.
        """
        loop, done = self._begin()
        if not self._gathered:
            # All that this turn of the loop decides goes to the writer at once: it would begin a
            # commit with the first, for which the others would have to wait.
            loop.call_soon(self._hand_over)
        self._gathered.append(_Waiting((row,), done))
        earlier = await _on_disk(loop, done)
        return earlier.get(row.get("source", "")) if earlier else None

    async def append_all(
        self, rows: Sequence[Mapping[str, Any]], beside: Beside | None = None
    ) -> Mapping[str, Row[Any]]:
        """Returns when all of `rows` are on disk, which one commit puts there.

        `beside` writes more in the same transaction, and undoes all of it by raising. Returns the
        decisions that the log has already under sources of theirs. Raises
        DecisionLogUnavailableError when they are not on disk.
        """
        loop, done = self._begin()
        self._queue(self._many, [_Waiting(rows, done, beside)])
        earlier = await _on_disk(loop, done)
        # One commit has many callers' rows.
        if not earlier:
            return earlier
        sources = {row.get("source") for row in rows}
        return {source: row for source, row in earlier.items() if source in sources}

    def _begin(self) -> tuple[asyncio.AbstractEventLoop, asyncio.Future[_Earlier]]:
        if self._closing or self._rows_waiting >= self._most_waiting:
            raise DecisionLogUnavailableError(_NO_MORE)
        loop = asyncio.get_running_loop()
        return loop, loop.create_future()

    def close(self) -> None:
        """Writes what waits, then ends the writer."""
        self._hand_over()
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join()

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._queue(self._single, gathered)

    def _queue(self, queue: list[_Waiting], new: list[_Waiting]) -> None:
        with self._changed:
            if not self._closing:
                queue += new
                self._rows_waiting += sum(len(each.rows) for each in new)
                self._changed.notify()
                return
        # Another thread closed the log meanwhile: the writer may be gone.
        _answer([each.done for each in new], DecisionLogUnavailableError(_NO_MORE))

    def _write(self) -> None:
        while True:
            with self._changed:
                while not (self._single or self._many or self._closing):
                    self._changed.wait()
                group = self._next_group()
                left = self._rows_waiting
            if not group:
                return
            rows = [row for each in group for row in each.rows]
            if self._watch is not None:
                self._watch.waiting(len(rows) + left)
            began = time.perf_counter()
            outcome: _Earlier | DecisionLogUnavailableError
            try:
                outcome = self._commit(rows, group[0].beside)
            except Exception as caught:  # noqa: BLE001 (whatever it is, the next group is written)
                message = "The decision log cannot be written. Send the transaction again later."
                outcome = DecisionLogUnavailableError(message)
                outcome.__cause__ = caught
            _answer([each.done for each in group], outcome)
            if self._watch is not None:
                if not isinstance(outcome, DecisionLogUnavailableError):
                    self._watch.committed(len(rows), time.perf_counter() - began)
                self._watch.waiting(left)

    def _next_group(self) -> list[_Waiting]:
        both = (self._many, self._single) if self._next_is_many else (self._single, self._many)
        turn = both[0] or both[1]
        self._next_is_many = turn is self._single
        group: list[_Waiting] = []
        size = 0
        for each in turn:
            alone = each.beside is not None  # What undoes it must undo nobody else's.
            if group and (alone or size + len(each.rows) > _LARGEST_GROUP):
                break
            group.append(each)
            size += len(each.rows)
            if alone:
                break
        del turn[: len(group)]
        self._rows_waiting -= size
        return group

    def _commit(self, rows: list[Mapping[str, Any]], beside: Beside | None) -> _Earlier:
        with writing(self._engine) as connection:
            earlier = self._writer_of.write(connection, rows)
            if beside is not None:
                beside(connection)
            return earlier


async def _on_disk(loop: asyncio.AbstractEventLoop, done: asyncio.Future[_Earlier]) -> _Earlier:
    too_late = loop.call_later(_LONGEST_WAIT_S, _give_up, done)
    try:
        return await done
    finally:
        too_late.cancel()


def _give_up(done: asyncio.Future[_Earlier]) -> None:
    if not done.done():
        message = (
            f"The decision log did not answer within {_LONGEST_WAIT_S:.0f} s. "
            "Send the transaction again later."
        )
        done.set_exception(DecisionLogUnavailableError(message))


def _answer(
    waiting: list[asyncio.Future[_Earlier]], outcome: _Earlier | DecisionLogUnavailableError
) -> None:
    def settle(futures: list[asyncio.Future[_Earlier]]) -> None:
        for done in futures:
            if done.done():  # The caller went away; its decision is logged all the same.
                continue
            if isinstance(outcome, DecisionLogUnavailableError):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[_Earlier]]] = {}
    for done in waiting:
        by_loop.setdefault(done.get_loop(), []).append(done)
    for loop, futures in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, futures)
