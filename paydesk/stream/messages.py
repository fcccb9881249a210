"""What the topics carry: messages to rows that /score would take, and logged decisions to messages.

A value is one JSON object with `version`; the schemas beside this module are published for others.
A key is the customer's id, so that the messages of one customer stay in order.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, Field
from pydantic.json_schema import GenerateJsonSchema

from paydesk.bulk.rows import ABSENT, FIELDS, Block, Transactions, take
from paydesk.json_text import JsonTextError, parse_object, surely_plain
from paydesk.risk.transaction import Decision, Level, ScoredTransaction

VERSION = 1
VALUE_LIMIT = 64 * 1024
KEY_LIMIT = 1024  # More than any customer's id has; a broker's limit is on what is compressed.

# Why a message is no transaction, in a word that metrics and headers have.
Kind = Literal["empty", "no_key", "too_long", "not_json", "wrong_version", "invalid", "conflict"]

_LEVELS = [level.name for level in Level]
# A batch of plain messages is looked at as one text, which must fit memory twice.
_JOINED_LIMIT = 64 * 1024 * 1024


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):  # Which Python takes for a number.
        raise ValueError(f"must be {VERSION}")
    return value


class TransactionMessage(ScoredTransaction):
    """A transaction to be scored, as the value of a message whose key is the customer's id.

    Members that Paydesk does not know are ignored.
    """

    version: Annotated[Literal[1], BeforeValidator(_no_boolean)] = Field(
        description="Of this form of message."
    )


class DecisionMessage(Decision):
    """A decision, and the transaction that it is about, as the log has them.

    The message has the key and the time of the transaction's own. Alerts have the same form.
    """

    version: Literal[1]
    source: str = Field(description="The transaction's message: topic id/partition/offset.")
    event_at_ms: int = Field(
        description="The time of the transaction's message, milliseconds since 1970, UTC."
    )
    amount: str = Field(description="As scored, in the transaction's currency.")
    category: str | None
    hour: int
    store: str | None
    customer_id: str | None


MESSAGES: Mapping[str, type[BaseModel]] = {
    "transaction": TransactionMessage,
    "decision": DecisionMessage,
}


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema of a kind of message, as `schemas/NAME.v1.json` publishes it."""
    model = MESSAGES[name]
    mode: Literal["validation", "serialization"] = (
        "validation" if name == "transaction" else "serialization"
    )
    made = model.model_json_schema(mode=mode)
    return {"$schema": GenerateJsonSchema.schema_dialect, **made}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that is no transaction: its place in the batch, and why."""

    place: int
    kind: Kind
    reason: str


@dataclass(frozen=True, slots=True)
class Taken:
    """The transactions of a batch as columns, `rows.lines` being their places; and the refused."""

    rows: Transactions
    refusals: list[Refusal]


def read(keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> Taken:
    """Takes the messages that /score would take, given their keys and values."""
    places: list[int] = []
    texts: list[bytes] = []
    refusals: list[Refusal] = []
    for place, (key, value) in enumerate(zip(keys, values, strict=True)):
        if value and key and len(value) <= VALUE_LIMIT and len(key) <= KEY_LIMIT:
            places.append(place)
            texts.append(value)
        else:
            refusals.append(_unread(place, key, value))
    bodies = _quickly(texts)
    if bodies is None:
        places, bodies = _one_by_one(places, texts, refusals)
    versions = [body.get("version") for body in bodies]
    if versions.count(VERSION) != len(versions) or set(map(type, versions)) - {int}:
        good = [_is_ours(version) for version in versions]
        refusals += [
            Refusal(place, "wrong_version", _version_reason(body))
            for place, body, kept in zip(places, bodies, good, strict=True)
            if not kept
        ]
        places = [place for place, kept in zip(places, good, strict=True) if kept]
        bodies = [body for body, kept in zip(bodies, good, strict=True) if kept]
    columns = {name: [body.get(name, ABSENT) for body in bodies] for name in FIELDS}
    rows = take(Block(places, columns))
    refusals += [Refusal(row.line, "invalid", row.error) for row in rows.refused]
    refusals.sort(key=lambda refusal: refusal.place)
    return Taken(rows, refusals)


def _unread(place: int, key: bytes | None, value: bytes | None) -> Refusal:
    if not value:
        return Refusal(place, "empty", "The message is empty; it must be one JSON object.")
    if len(value) > VALUE_LIMIT:
        reason = (
            f"The message has {len(value):,} bytes; the most that Paydesk reads is {VALUE_LIMIT:,}."
        )
        return Refusal(place, "too_long", reason)
    if key:
        reason = f"The key has {len(key):,} bytes; the most that Paydesk reads is {KEY_LIMIT:,}."
        return Refusal(place, "too_long", reason)
    reason = "The message has no key; send it under the customer's id, which keeps their order."
    return Refusal(place, "no_key", reason)


def _quickly(texts: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """The objects of `texts`, where one look at all of them shows that no care is needed."""
    try:
        bodies: list[dict[str, Any]] = [orjson.loads(text) for text in texts]
        members = sum(map(len, bodies))
    except (orjson.JSONDecodeError, TypeError):
        return None
    together = b"\n".join(texts)
    if set(map(type, bodies)) - {dict} or len(together) > _JOINED_LIMIT:
        return None
    return bodies if surely_plain(together, objects=len(bodies), members=members) else None


def _one_by_one(
    places: Sequence[int], texts: Sequence[bytes], refusals: list[Refusal]
) -> tuple[list[int], list[dict[str, Any]]]:
    good: list[int] = []
    bodies: list[dict[str, Any]] = []
    for place, text in zip(places, texts, strict=True):
        try:
            bodies.append(parse_object(text, what="The message"))
        except JsonTextError as error:
            kind: Kind = "not_json" if text.strip() else "empty"
            refusals.append(Refusal(place, kind, str(error)))
        else:
            good.append(place)
    return good, bodies


def _is_ours(version: Any) -> bool:
    return version == VERSION and not isinstance(version, bool)


def _version_reason(body: Mapping[str, Any]) -> str:
    if "version" not in body:
        return "Missing required field 'version'"
    shown = json.dumps(body["version"])[:40]
    return f"version: is {shown}; this Paydesk reads version {VERSION}."


def decision(row: Mapping[str, Any], event_at_ms: int) -> bytes:
    """A row of the log as the value of a message, about one that was sent at that time."""
    return orjson.dumps(
        {
            "version": VERSION,
            "tx_id": row["tx_id"],
            "score": row["points"],
            "risk_level": _LEVELS[row["level"]],
            "triggered_rules": orjson.Fragment(row["triggered_rules"]),
            "fraud": bool(row["fraud"]),
            "fraud_probability": row["fraud_probability"],
            "reasons": orjson.Fragment(row["reasons"]),
            "model": row["model"],
            "decision_id": row["decision_id"],
            "source": row["source"],
            "event_at_ms": event_at_ms,
            "amount": row["amount"],
            "category": row["category"],
            "hour": row["hour"],
            "store": row["store"],
            "customer_id": row["customer_id"],
        }
    )
