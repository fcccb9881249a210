"""What a caller sends to be scored, and what is decided about it."""

import re
from datetime import datetime
from enum import IntEnum
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from paydesk.json_text import whole_number

NOON = 12
LARGEST_AMOUNT = 1e12
LONGEST_NAME = 200
PAYMENT_SUBJECT = "payment:"  # How the tx_id of a decision about a payment begins.

_DATE = re.compile(r"\d{4}-\d\d-\d\d")

# No control character: ids stand in addresses and exports. A number is taken for the text that it
# is written as.
_Name = Annotated[
    str,
    Field(
        max_length=LONGEST_NAME,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        json_schema_extra={"type": ["string", "number"]},
    ),
]


def _written_out(value: Any) -> Any:
    # Without this, pydantic also takes seconds since 1970, as a number or as a text.
    if isinstance(value, str) and _DATE.match(value):
        return value
    raise ValueError("must be a text like 2026-03-01T02:30:00Z")


_Hour = Annotated[int, Field(ge=0, le=23, strict=True), BeforeValidator(whole_number)]
_Time = Annotated[datetime, BeforeValidator(_written_out)]


class Level(IntEnum):
    """How urgent a transaction is; a greater number is more urgent."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class Transaction(BaseModel):
    """One card or payment transaction.

    Members that Paydesk does not know are ignored, so that callers may send whole records.
    """

    model_config = ConfigDict(
        frozen=True,
        coerce_numbers_to_str=True,
        json_schema_extra={
            "example": {"tx_id": "TX003", "amount": 4500.0, "category": "electronics", "hour": 3}
        },
    )

    tx_id: _Name = "unknown"
    amount: float = Field(
        ge=0,
        le=LARGEST_AMOUNT,
        strict=True,
        allow_inf_nan=False,
        description="In the transaction's currency.",
    )
    category: _Name | None = Field(default=None, description="The store's trade.")
    hour: _Hour = Field(
        default=NOON,
        json_schema_extra={"type": ["integer", "null"]},
        description="Local hour of the day; the timestamp's where absent, else 12.",
    )
    timestamp: _Time | None = None
    customer_id: _Name | None = None
    store: _Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _absent_when_null(cls, body: Any) -> Any:
        # Clients that build the body from a record send null for what they do not have.
        if isinstance(body, dict) and body.get("hour", "") is None:
            return {name: value for name, value in body.items() if name != "hour"}
        return body

    @model_validator(mode="after")
    def _hour_of_timestamp(self) -> "Transaction":
        if self.timestamp is not None and "hour" not in self.model_fields_set:
            # The instance is frozen for its users, not for its own completion.
            object.__setattr__(self, "hour", self.timestamp.hour)
        return self


class ScoredTransaction(Transaction):
    """One card or payment transaction, as anybody may send it to be scored.

    Members that Paydesk does not know are ignored, so that callers may send whole records. A tx_id
    that begins with `payment:` is refused: an override names a decision under such an id, and
    only /payment makes these.
    """

    @field_validator("tx_id", mode="after")
    @classmethod
    def _no_payment(cls, tx_id: str) -> str:
        if tx_id.startswith(PAYMENT_SUBJECT):
            raise ValueError(
                f"a tx_id that begins with {PAYMENT_SUBJECT} is a payment's own; send another one"
            )
        return tx_id


class Decision(BaseModel):
    """What Paydesk decided about a transaction.

    `score` is the points of the rules alone. `risk_level` is the rules' level, raised (never
    lowered) where the forest's probability passes the model's threshold for a higher one. `fraud`
    is the forest's own verdict: its probability passes the threshold for HIGH.
    """

    tx_id: str
    score: int = Field(description="Points of the rules.")
    risk_level: str = Field(description="LOW, MEDIUM, HIGH or CRITICAL.")
    triggered_rules: list[str]
    fraud: bool
    fraud_probability: float = Field(ge=0, le=1)
    reasons: list[str] = Field(description="In words, for the person who follows it up.")
    model: str = Field(description="Name and registry version of the forest.")
    decision_id: str
