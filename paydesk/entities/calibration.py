"""Turns the model's probabilities into honest ones: of those at 0.9, nine in ten are right."""

import math
from collections.abc import Mapping, Sequence

_EDGE = 2e-3


class Calibration:
    """For every field a slope and an intercept on the log-odds; without them it stays as it is."""

    def __init__(self, lines: Mapping[str, Sequence[float]]) -> None:
        self._lines = lines

    def of(self, field: str, share: float) -> float:
        """The calibrated probability."""
        slope, intercept = self._lines.get(field, (1.0, 0.0))
        odds = slope * log_odds(share) + intercept
        return round(1 / (1 + math.exp(-odds)), 4)


def log_odds(share: float) -> float:
    """The logarithm of the odds, kept finite at both ends."""
    share = min(max(share, _EDGE), 1 - _EDGE)
    return math.log(share / (1 - share))
