"""The decision about each transaction of a batch: in this process, once it is in the log."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Engine, Row

from paydesk.errors import PaydeskError
from paydesk.risk.scorer import Scorer
from paydesk.storage.database import (
    DatabaseUnavailableError,
    answering,
    now_us,
    writing,
)
from paydesk.storage.decision_writer import DecisionWriter, is_about
from paydesk.storage.identifiers import new_ids
from paydesk.storage.stream_scorers import ScorerReport, report_scorer
from paydesk.stream.log_rows import log_rows
from paydesk.stream.messages import Refusal, Taken


class TryAgainError(PaydeskError):
    """What a decision needs is away for the moment."""


@dataclass(slots=True)
class Decided:
    """Rows of the log (columns of `decisions`) by place, and what is refused only now.

    `replayed` of them were in the log before.
    """

    rows: dict[int, Mapping[str, Any]]
    replayed: int = 0
    refusals: list[Refusal] = field(default_factory=list)


class Decider(Protocol):
    """Where decisions are made."""

    def decide(self, taken: Taken, values: Sequence[bytes], sources: Sequence[str]) -> Decided:
        """The decisions about the rows that were taken, each in the log by now.

        `values` and `sources` are those of the whole batch. Raises DatabaseUnavailableError or
        TryAgainError when the log cannot be had: the batch is to be tried again.
        """

    def report(self, report: ScorerReport) -> None:
        """Tells the monitor, if that can be had just now."""

    def close(self) -> None:
        """Lets go of what it holds."""


class InProcess:
    """The scorer and the log, without a service between."""

    def __init__(self, scorer: Scorer, engine: Engine) -> None:
        self._scorer = scorer
        self._engine = engine
        self._writer = DecisionWriter(engine)

    def decide(self, taken: Taken, values: Sequence[bytes], sources: Sequence[str]) -> Decided:
        """One commit carries the whole batch."""
        del values
        places = taken.rows.lines
        if not places:
            return Decided({})
        rows = log_rows(self._scorer, taken, sources, new_ids(len(places)), now_us())
        with answering("The decision log cannot be written."), writing(self._engine) as connection:
            earlier = self._writer.write(connection, rows)
        decided = Decided(dict(zip(places, rows, strict=True)), len(earlier))
        if earlier:
            for place, row in zip(places, rows, strict=True):
                if (there := earlier.get(row["source"])) is not None:
                    _take_over(decided, place, row, there)
        return decided

    def report(self, report: ScorerReport) -> None:
        """The log's database has it."""
        with suppress(DatabaseUnavailableError):
            report_scorer(self._engine, report)

    def close(self) -> None:
        """Lets go of the database."""
        self._engine.dispose()


def _take_over(decided: Decided, place: int, row: Mapping[str, Any], there: Row[Any]) -> None:
    """Puts the decision that the log has in the place of the one that was made anew."""
    if is_about(there, row):
        decided.rows[place] = there._asdict()
        return
    del decided.rows[place]
    decided.replayed -= 1
    reason = f"The log has a decision about another transaction under {row['source']}."
    decided.refusals.append(Refusal(place, "conflict", reason))
