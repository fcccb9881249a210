"""What the service answers, as models: the shapes of the OpenAPI document."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from paydesk.payments.payment import PaymentRecord
from paydesk.risk.transaction import Decision
from paydesk.storage.stream_scorers import HeardScorer

MOST_CHARACTERS = 200_000
LevelName = Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]


class FieldError(BaseModel):
    """One field that is wrong, and why."""

    field: str
    reason: str


class Problem(BaseModel):
    """An error (RFC 9457); some carry more members, like the payment that it is about."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    error: str = Field(description="One sentence for a person; the same as detail.")
    request_id: str = Field(description="Under which the log has this request.")
    errors: list[FieldError] = Field(default=[], description="For input that is wrong.")


class PaymentProblem(Problem):
    """An error about a payment."""

    payment: PaymentRecord | None = Field(
        default=None, description="The payment that it is about, as the ledger has it."
    )
    alike: PaymentRecord | None = Field(
        default=None, description="Another payment like it, newer than the one it is `beside`."
    )
    decision: Decision | None = Field(
        default=None, description="Why it is held; an override names its decision_id."
    )


class TransactionNotFound(BaseModel):
    """An error whose `status` is a word: clients of the first version read it."""

    type: str
    title: str
    status: Literal["not found"]
    detail: str
    instance: str
    error: str
    request_id: str
    tx_id: str


class LoggedDecision(BaseModel):
    """A decision as the log has it."""

    tx_id: str
    status: Literal["found"]
    score: int
    risk_level: LevelName
    triggered_rules: list[str]
    fraud: bool
    fraud_probability: float
    reasons: list[str]
    model: str
    decision_id: str
    recorded_at: str = Field(description="ISO 8601, UTC.")
    amount: str = Field(description="As scored.")
    category: str | None
    hour: int
    store: str | None
    customer_id: str | None


class DecisionPage(BaseModel):
    """Decisions, newest first; `next_cursor` leads on, or is null."""

    decisions: list[LoggedDecision]
    next_cursor: str | None


class ByLevel(BaseModel):
    """A number a level."""

    LOW: int
    MEDIUM: int
    HIGH: int
    CRITICAL: int


class Stats(BaseModel):
    """Decisions since the log began, over all workers; `high` counts HIGH and CRITICAL."""

    total: int
    high: int
    by_level: ByLevel


class CountsAt(ByLevel):
    """Decisions by level from `at` on, for a step."""

    at: str = Field(description="ISO 8601, UTC.")


class CountsFrom(ByLevel):
    """Decisions by level with a fraud probability from `probability` on, for 0.05."""

    probability: float


class Counts(BaseModel):
    """Decisions of a time, by level, over time and by fraud probability; none are 0."""

    step_s: int = Field(description="Seconds that a step of `over_time` has.")
    over_time: list[CountsAt]
    by_probability: list[CountsFrom]


class StreamScorers(BaseModel):
    """Those that score a stream, by group and name, each as it last said of itself."""

    scorers: list[HeardScorer]


class MailText(BaseModel):
    """What `/predict` is to be sent of a message."""

    text: str
    quoted_characters: int = Field(description="How many of them are quoted history.")


class Health(BaseModel):
    """Whether it works, and with which versions."""

    status: Literal["ok"]
    version: str
    sandbox: bool = Field(description="Payments go to the sandbox bank: no money moves.")
    models: dict[str, str]


class Status(BaseModel):
    """What this service is."""

    service: Literal["monitoring"]
    version: str
    status: Literal["ok"]
    models: dict[str, str]
    bank: str


class Echo(BaseModel):
    """What was received."""

    received: dict[str, Any]
    field_count: int


class JobState(BaseModel):
    """How far a job is. Times are in ISO 8601, UTC."""

    job_id: str
    state: Literal["queued", "running", "done", "failed"]
    rows: int = Field(description="Rows that the result has so far, with the refused ones.")
    refused: int
    bytes_read: int = Field(description="Of the body, as it was sent.")
    bytes_total: int
    created_at: str
    started_at: str | None
    ended_at: str | None
    expires_at: str | None = Field(description="The job and its result are removed then.")
    error: str | None = Field(description="Why it failed.")


class Email(BaseModel):
    """The text of one e-mail."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"email": "Please pay 1,250.00 EUR to Northwind Ltd from Contoso GmbH."}
        }
    )

    email: str = Field(min_length=1, max_length=MOST_CHARACTERS, strict=True)
