"""A circuit breaker before the bank: after failures in a row nobody waits for a dead bank."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from circuitbreaker import STATE_HALF_OPEN, CircuitBreaker  # type: ignore[import-untyped]

T = TypeVar("T")


class CallFailedError(Exception):
    """A call that failed. `subject`: what it was about, where the fault may lie in that alone."""

    subject: str | None = None


class BreakerOpenError(Exception):
    """The call was not made; one may be in `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"not called; try again in {retry_after_s} s")


class Breaker:
    """Opens after `failures` failed calls in a row; after `recovery_s` one call at a time may try.

    Failures about one subject count once: a single payment that the bank stumbles over does not
    keep all others from it. The library `circuitbreaker` counts and keeps the time. It would let
    every waiting thread try at once when the time is over; the lock here makes that one.
    """

    def __init__(self, failures: int, recovery_s: float) -> None:
        self._circuit = CircuitBreaker(
            failure_threshold=failures,
            recovery_timeout=recovery_s,
            expected_exception=CallFailedError,
        )
        self._recovery_s = recovery_s
        self._trial = threading.Lock()
        self._counting = threading.Lock()
        self._counted: set[str] = set()

    @property
    def open_for_s(self) -> int:
        """Seconds until a call may be tried; 0 when one may now."""
        return max(1, int(self._circuit.open_remaining)) if self._circuit.opened else 0

    def call(self, function: Callable[[], T]) -> T:
        """What `function` returns. Raises BreakerOpenError instead of calling it when open."""
        if self._circuit.opened:
            raise BreakerOpenError(self.open_for_s)
        if self._circuit.state != STATE_HALF_OPEN:
            return self._watched(function)
        if not self._trial.acquire(blocking=False):
            raise BreakerOpenError(max(1, round(self._recovery_s)))
        try:
            return self._watched(function)
        finally:
            self._trial.release()

    def _watched(self, function: Callable[[], T]) -> T:
        try:
            result = function()
        except CallFailedError as failure:
            self._count(failure)
            raise
        with self._counting, self._circuit:  # A block that ends well is a success to the circuit.
            self._counted.clear()
        return result

    def _count(self, failure: CallFailedError) -> None:
        with self._counting:
            # A trial that fails closes the way again, whatever it was about.
            on_trial = self._circuit.state == STATE_HALF_OPEN
            if failure.subject in self._counted and not on_trial:
                return
            if failure.subject is not None:
                self._counted.add(failure.subject)
            with suppress(CallFailedError), self._circuit:
                raise failure
