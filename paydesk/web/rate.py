"""A key's rate limit: so many requests a second, with a second's worth at once."""

from time import monotonic


class Pace:
    """The generic cell rate algorithm: one number remembers all that came."""

    __slots__ = ("_burst_s", "_free_at", "_step_s")

    def __init__(self, per_s: float) -> None:
        self._step_s = 1 / per_s
        self._burst_s = max(1.0, self._step_s)
        self._free_at = 0.0

    def wait_s(self) -> float:
        """0 when the request may pass now, which then counts; else the seconds until one may."""
        now = monotonic()
        free_at = max(self._free_at, now) + self._step_s
        if free_at - now > self._burst_s:
            return free_at - now - self._burst_s
        self._free_at = free_at
        return 0.0
