"""What each scorer of a stream last said of itself."""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sqlalchemy import Engine, func, select

from paydesk.json_text import whole_number
from paydesk.storage.database import answering, inserting, now_us, writing
from paydesk.storage.tables import stream_scorers

_FORGOTTEN_AFTER_US = 24 * 3600 * 1_000_000
_MOST = 100
_Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]


_Count = Annotated[int, Field(ge=0, lt=2**53, strict=True), BeforeValidator(whole_number)]


class ScorerReport(BaseModel):
    """One scorer of a stream; its counts are those since it began."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "example": {
                "group": "paydesk.scorers",
                "name": "scorer-1",
                "topic": "paydesk.transactions",
                "state": "scoring",
                "decisions": 48_000,
                "dead_letters": 2,
                "waiting": 12,
                "per_second": 1510.5,
                "to_alert_ms": 61,
            }
        },
    )

    group: _Name
    name: _Name
    topic: _Name
    state: Literal["scoring", "stopped"]
    decisions: _Count
    dead_letters: _Count
    waiting: _Count = Field(description="Messages of its partitions that are not scored yet.")
    per_second: float = Field(
        ge=0, strict=True, allow_inf_nan=False, description="Decisions since its last report."
    )
    to_alert_ms: _Count | None = Field(
        description="From a message to its alert's commit, the slowest since the last report."
    )


class HeardScorer(ScorerReport):
    """A scorer, and how long ago it said so."""

    model_config = ConfigDict(json_schema_extra={})

    heard_s_ago: float = Field(description="Seconds; a scorer reports every two.")


def report_scorer(engine: Engine, report: ScorerReport) -> None:
    """Keeps the report in place of the scorer's last one, and of a hundred scorers a day.

    Raises DatabaseUnavailableError.
    """
    key = {"group_name": report.group, "name": report.name}
    now = now_us()
    said = {"heard_at_us": now, "report": report.model_dump_json()}
    old = stream_scorers.c.heard_at_us < now - _FORGOTTEN_AFTER_US
    put = inserting(engine, stream_scorers).values(key | said)
    mine = [stream_scorers.c[name] == value for name, value in key.items()]
    with answering(), writing(engine) as connection:
        if connection.execute(stream_scorers.update().where(*mine).values(said)).rowcount:
            return
        connection.execute(stream_scorers.delete().where(old))
        if (connection.scalar(select(func.count()).select_from(stream_scorers)) or 0) < _MOST:
            connection.execute(put.on_conflict_do_update(index_elements=[*key], set_=said))


def heard_scorers(engine: Engine) -> list[HeardScorer]:
    """The scorers of the last day, by group and name.

    Raises DatabaseUnavailableError.
    """
    now = now_us()
    lately = select(stream_scorers).where(stream_scorers.c.heard_at_us > now - _FORGOTTEN_AFTER_US)
    with answering(), engine.connect() as connection:
        rows = connection.execute(lately).all()
    found = [
        HeardScorer(
            **json.loads(row.report),
            heard_s_ago=round(max(now - row.heard_at_us, 0) / 1e6, 1),
        )
        for row in rows
    ]
    return sorted(found, key=lambda scorer: (scorer.group, scorer.name))
