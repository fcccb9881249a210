"""A circuit breaker before the bank: after failures in a row nobody waits for a dead bank."""

import threading
from collections.abc import Callable
from typing import TypeVar

from circuitbreaker import STATE_HALF_OPEN, CircuitBreaker  # type: ignore[import-untyped]

T = TypeVar("T")


class BreakerOpenError(Exception):
    """The call was not made; one may be in `retry_after_s` seconds."""

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"not called; try again in {retry_after_s} s")


class Breaker:
    """Opens after `failures` failed calls in a row; after `recovery_s` one call at a time may try.

    The library `circuitbreaker` counts and keeps the time. It would let every waiting thread try
    at once when the time is over; the lock here makes that one.
    """

    def __init__(self, failures: int, recovery_s: float, failure: type[Exception]) -> None:
        self._circuit = CircuitBreaker(
            failure_threshold=failures, recovery_timeout=recovery_s, expected_exception=failure
        )
        self._recovery_s = recovery_s
        self._trial = threading.Lock()

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
        with self._circuit:
            return function()
