"""Counted decisions as a chart wants them: every step of a window, also where nothing was."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from paydesk.risk.transaction import Level
from paydesk.storage.decision_counts import TWENTIETHS, counted

_SECOND_US = 1_000_000
# Seconds of the window, and of a step: a whole number of the five minutes that are kept.
_WINDOWS = {
    "hour": (3_600, 300),
    "day": (86_400, 1_800),
    "week": (7 * 86_400, 14_400),
    "month": (30 * 86_400, 43_200),
}


def counts(engine: Engine, window: str, now_us: int) -> dict[str, Any]:
    """The window that ends with the step in which `now_us` is.

    Blocks on the database; raises DatabaseUnavailableError.
    """
    length_s, step_s = _WINDOWS[window]
    step_us = step_s * _SECOND_US
    until_us = now_us - now_us % step_us + step_us
    since_us = until_us - length_s * _SECOND_US
    found = counted(engine, since_us, until_us, step_us)
    return {
        "step_s": step_s,
        "over_time": [
            {"at": _iso(at), **_by_level(found.over_time, at)}
            for at in range(since_us, until_us, step_us)
        ],
        "by_probability": [
            {"probability": part / TWENTIETHS, **_by_level(found.by_probability, part)}
            for part in range(TWENTIETHS)
        ],
    }


def _by_level(numbers: dict[tuple[int, int], int], key: int) -> dict[str, int]:
    return {level.name: numbers.get((key, int(level)), 0) for level in Level}


def _iso(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / _SECOND_US, UTC).isoformat()
