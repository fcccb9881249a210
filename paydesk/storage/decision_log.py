"""The log of decisions: append-only, on disk before it is acknowledged, written in groups."""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Engine, Row

from paydesk.errors import PaydeskError
from paydesk.storage.database import writing
from paydesk.storage.decision_writer import DecisionWriter

_LARGEST_GROUP = 1_000
_LONGEST_WAIT_S = 20.0
_NO_MORE = "The decision log takes no more just now. Send the transaction again."

# By source, where the log had a decision already.
_Earlier = dict[str, Row[Any]]
_Waiting = tuple[Sequence[Mapping[str, Any]], asyncio.Future[_Earlier]]


class DecisionLogUnavailableError(PaydeskError):
    """The decision could not be put on disk, so it was not made."""

    retry_after_s = 5


class Watch(Protocol):
    """Who is told how the log does; called on the writing thread."""

    def waiting(self, decisions: int) -> None:
        """So many decisions wait for a commit that begins now, or 0 when none is left."""

    def committed(self, decisions: int, seconds: float) -> None:
        """A commit with so many decisions took so long."""


class DecisionLog:
    """Appends decisions.

    One thread writes. While a commit is under way the next decisions wait together, and one commit
    carries them all: durability costs a share of an fsync, not one each.
    """

    def __init__(
        self, engine: Engine, watch: Watch | None = None, *, most_waiting: int = 20_000
    ) -> None:
        self._engine = engine
        self._writer_of = DecisionWriter(engine)
        self._watch = watch
        self._most_waiting = most_waiting
        self._gathered: list[_Waiting] = []  # by the event loop, not handed over yet
        self._waiting: list[_Waiting] = []
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
        earlier = await self.append_all((row,))
        return earlier[row["source"]] if earlier else None

    async def append_all(self, rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Row[Any]]:
        """Returns when all of `rows` are on disk, which one commit puts there.

        Returns the decisions that the log has already under sources of theirs. Raises
        DecisionLogUnavailableError when they are not on disk.
        """
        if self._closing or self._rows_waiting >= self._most_waiting:
            raise DecisionLogUnavailableError(_NO_MORE)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_Earlier] = loop.create_future()
        if not self._gathered:
            # All that this turn of the loop decides goes to the writer at once: it would begin a
            # commit with the first, for which the others would have to wait.
            loop.call_soon(self._hand_over)
        self._gathered.append((rows, done))
        too_late = loop.call_later(_LONGEST_WAIT_S, _give_up, done)
        try:
            earlier = await done
        finally:
            too_late.cancel()
        # One commit has many callers' rows.
        if not earlier:
            return earlier
        sources = {row.get("source") for row in rows}
        return {source: row for source, row in earlier.items() if source in sources}

    def close(self) -> None:
        """Writes what waits, then ends the writer."""
        self._hand_over()
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join()

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        with self._changed:
            if not self._closing:
                self._waiting += gathered
                self._rows_waiting += sum(len(rows) for rows, _ in gathered)
                self._changed.notify()
                return
        # Gathered while another thread closed the log: the writer may be gone.
        _answer([done for _, done in gathered], DecisionLogUnavailableError(_NO_MORE))

    def _write(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                group, rows = self._next_group()
                left = self._rows_waiting
            if not group:
                return
            if self._watch is not None:
                self._watch.waiting(len(rows) + left)
            began = time.perf_counter()
            outcome: _Earlier | DecisionLogUnavailableError
            try:
                outcome = self._commit(rows)
            except Exception as caught:  # noqa: BLE001 (whatever it is, the next group is written)
                message = "The decision log cannot be written. Send the transaction again later."
                outcome = DecisionLogUnavailableError(message)
                outcome.__cause__ = caught
            _answer(group, outcome)
            if self._watch is not None:
                if not isinstance(outcome, DecisionLogUnavailableError):
                    self._watch.committed(len(rows), time.perf_counter() - began)
                self._watch.waiting(left)

    def _next_group(self) -> tuple[list[asyncio.Future[_Earlier]], list[Mapping[str, Any]]]:
        group: list[asyncio.Future[_Earlier]] = []
        rows: list[Mapping[str, Any]] = []
        for some, done in self._waiting:
            if rows and len(rows) + len(some) > _LARGEST_GROUP:
                break
            group.append(done)
            rows += some
        del self._waiting[: len(group)]
        self._rows_waiting -= len(rows)
        return group, rows

    def _commit(self, rows: list[Mapping[str, Any]]) -> _Earlier:
        with writing(self._engine) as connection:
            return self._writer_of.write(connection, rows)


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
