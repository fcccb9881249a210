"""Messages are taken or refused as /score does it, and look as the published schemas say."""

import json
from typing import Any

import jsonschema
import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from paydesk.json_text import JsonTextError, parse_object
from paydesk.stream.letter import Letter, Position
from paydesk.stream.letters import key_of
from paydesk.stream.messages import (
    MESSAGES,
    VALUE_LIMIT,
    TransactionMessage,
    decision,
    read,
    schema,
)

GOOD = {"version": 1, "tx_id": "A", "amount": 4500.0, "category": "electronics", "hour": 3}
ROW = {
    "decision_id": "01990a6e-7c1e-7b0a-9d5e-2f6c8a1b3c4d",
    "recorded_at_us": 1_772_334_000_000_000,
    "tx_id": "A",
    "amount": "4500.0",
    "category": None,
    "hour": 3,
    "store": "S1",
    "customer_id": None,
    "level": 3,
    "points": 7,
    "fraud": 1,
    "fraud_probability": 0.97,
    "triggered_rules": '["R1: amount > 3000"]',
    "reasons": '["The amount 4500.00 is above 3000."]',
    "model": "risk:1",
    "source": "MkU3OEVBNTcwNTJENDM2Qk/0/17",
}


def bad(**members: Any) -> bytes:
    """A message with these members instead."""
    return json.dumps({**GOOD, **members}).encode()


# key, value, kind, and what the reason says
BAD: list[tuple[bytes | None, bytes | None, str, str]] = [
    (b"C", None, "empty", "empty"),
    (b"C", b"", "empty", "empty"),
    (b"C", b" \n", "empty", "empty"),
    (None, bad(), "no_key", "no key"),
    (b"", bad(), "no_key", "no key"),
    (b"C", b" " * 1_000_000, "too_long", "1,000,000 bytes"),
    (b"C", bad(category="x" * 1_000_000), "too_long", "65,536"),
    (b"C", b"\xff\xfe", "not_json", "UTF-8"),
    (b"C", b"{", "not_json", "not valid JSON"),
    (b"C", b"[1]", "not_json", "not a list"),
    (b"C", b'{"version": 1, "amount": 1, "amount": 2}', "not_json", "twice"),
    (b"C", b'{"version": 1, "amount": NaN}', "not_json", "not valid JSON"),
    (b"C", b'{"amount": 1}', "wrong_version", "'version'"),
    (b"C", bad(version=2), "wrong_version", "is 2; this Paydesk reads version 1"),
    (b"C", bad(version="1"), "wrong_version", "version"),
    (b"C", bad(version=True), "wrong_version", "version"),
    (b"C", bad(version=10**30), "wrong_version", "version"),
    (b"C", b'{"version": 1}', "invalid", "Missing required field 'amount'"),
    (b"C", bad(amount="12"), "invalid", "amount"),
    (b"C", bad(amount=-1), "invalid", "amount"),
    (b"C", bad(hour=24), "invalid", "hour"),
    (b"C", bad(timestamp=12), "invalid", "timestamp"),
    (b"C", bad(tx_id="payment:1"), "invalid", "payment"),
    (b"C", bad(store="a\x00b"), "invalid", "store"),
]


@pytest.mark.parametrize(("key", "value", "kind", "says"), BAD)
def test_a_bad_message_is_refused_with_its_kind_and_a_reason(
    key: bytes | None, value: bytes | None, kind: str, says: str
) -> None:
    taken = read([key, b"C"], [value, bad()])
    assert [(one.place, one.kind) for one in taken.refusals] == [(0, kind)]
    assert says in taken.refusals[0].reason
    assert taken.rows.lines == [1]


def test_bad_ones_among_good_ones_cost_only_themselves() -> None:
    keys = [key for key, *_ in BAD for _ in range(2)]
    values = [one for _, value, *_ in BAD for one in (value, bad(tx_id="good"))]
    keys[1::2] = [b"C"] * len(BAD)
    taken = read(keys, values)
    assert taken.rows.lines == list(range(1, 2 * len(BAD), 2))
    assert taken.rows.tx_ids == ["good"] * len(BAD)
    assert [one.kind for one in taken.refusals] == [kind for *_, kind, _ in BAD]


def test_a_good_message_becomes_columns() -> None:
    values = [
        bad(),
        b'\n{"version": 1.0, "amount": 2, "timestamp": "2026-03-01T02:30:00Z", "more": {"a": [1]}}',
    ]
    taken = read([b"C", b"D"], values)
    assert not taken.refusals
    assert taken.rows.tx_ids == ["A", "unknown"]
    assert taken.rows.columns["amount"].tolist() == [4500.0, 2.0]
    assert taken.rows.columns["hour"].tolist() == [3, 2]
    assert taken.rows.columns["category"].tolist() == ["electronics", None]


_TEXTS = st.text('aé\x00"\\ ', max_size=5)


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.dictionaries(
                st.sampled_from(["version", "amount", "hour", "tx_id", "store", "x"]),
                st.one_of(st.integers(-2, 30), st.floats(), st.booleans(), _TEXTS),
            ).map(lambda body: json.dumps(body).encode()),
            st.fixed_dictionaries(
                {"version": st.just(1), "amount": st.floats(0, 1e4)},
                optional={"hour": st.integers(0, 23), "store": _TEXTS},
            ).map(lambda body: json.dumps(body).encode()),
        ),
        max_size=6,
    )
)
def test_the_model_alone_would_say_the_same(values: list[bytes]) -> None:
    """A whole batch is looked at together; one by one, by the model, must be the same."""
    taken = read([b"C"] * len(values), values)
    for place, value in enumerate(values):
        try:
            tx = TransactionMessage.model_validate(parse_object(value))
        except (JsonTextError, ValidationError):
            assert place in [one.place for one in taken.refusals]
            continue
        n = taken.rows.lines.index(place)
        assert taken.rows.columns["amount"][n] == np.float64(tx.amount)
        assert taken.rows.columns["hour"][n] == tx.hour
        assert taken.rows.columns["store"][n] == tx.store
    assert sorted([*taken.rows.lines, *(one.place for one in taken.refusals)]) == list(
        range(len(values))
    )


@pytest.mark.parametrize("name", MESSAGES)
def test_the_published_schema_is_that_of_the_definition(name: str) -> None:
    """`python -m paydesk.stream.schemas` writes it anew."""
    published = ROOT / "paydesk" / "stream" / "schemas" / f"{name}.v1.json"
    assert json.loads(published.read_text("utf-8")) == schema(name)
    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_messages_are_as_the_schemas_say() -> None:
    validator = jsonschema.Draft202012Validator(schema("transaction"))
    validator.validate(json.loads(bad()))
    for value in (bad(version=2), bad(amount=-1), bad(hour=24), b'{"version": 1}'):
        assert list(validator.iter_errors(json.loads(value)))
    made = json.loads(decision(ROW, 1_772_334_000_123))
    jsonschema.Draft202012Validator(schema("decision")).validate(made)
    assert made["risk_level"] == "CRITICAL"
    assert made["triggered_rules"] == ["R1: amount > 3000"]
    assert made["fraud"] is True
    assert made["event_at_ms"] == 1_772_334_000_123


def test_the_key_of_a_message_that_had_none() -> None:
    assert key_of(b'{"customer_id": "C1", "tx_id": "A"}') == b"C1"
    assert key_of(b'{"customer_id": null, "tx_id": "A"}') == b"A"
    assert key_of(b'{"customer_id": 5}') is None
    assert key_of(b"{") is None


def test_the_limit_is_that_of_the_value() -> None:
    value = bad()
    longest = value + b" " * (VALUE_LIMIT - len(value))
    taken = read([b"C", b"C"], [longest, longest + b" "])
    assert taken.rows.lines == [0]
    assert [one.kind for one in taken.refusals] == ["too_long"]


def test_a_key_that_no_customer_has_is_refused_and_left_out_of_the_letter() -> None:
    long = b"k" * 5_000_000  # A broker takes it where it is compressed, and no letter would fit.
    taken = read([long, b"C"], [bad(), bad()])
    assert taken.rows.lines == [1]
    (refusal,) = taken.refusals
    assert (refusal.kind, refusal.place) == ("too_long", 0)
    assert "5,000,000 bytes" in refusal.reason
    letter = Letter.of(refusal, Position("in", 0, 7, 0), long, bad())
    assert (letter.key, letter.value) == (None, bad())
    assert Letter.of(refusal, Position("in", 0, 7, 0), b"C", bad()).key == b"C"
