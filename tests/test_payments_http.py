"""Payments through the service's own routes: what is held, what lets it through, what is told."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from payments_bank import RunningSandbox
from payments_service import PaymentService, payment_service
from sqlalchemy import Engine, literal, select, text, update

from paydesk.payments.approval import Approval
from paydesk.risk.transaction import Decision, Level
from paydesk.storage import tables
from paydesk.storage.database import now_us
from paydesk.web.holding import PaymentHeldError, PaymentOrder, let_through

pytest_plugins = ["payments_fixtures"]

_BODY = {"accountA": "Alice", "accountB": "Bob", "amount": "9000.00"}


@pytest.fixture
def service(engine: Engine, bank: RunningSandbox, forest: Path) -> Iterator[PaymentService]:
    """A service that holds payments from HIGH on: an amount above 3000 is."""
    with payment_service(engine, bank.settings(), forest, hold_payments_from="HIGH") as service:
        yield service


@pytest.fixture
def client(service: PaymentService) -> httpx.Client:
    return service.client


def _pay(client: httpx.Client, key: str | None = None, **changes: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/payment", json={**_BODY, **changes}, headers=headers)


def _held(client: httpx.Client, **changes: Any) -> dict[str, str]:
    """The override that the answer to a risky payment asks for."""
    held = _pay(client, **changes)
    assert held.status_code == 403, held.text
    return {"decision_id": held.json()["decision"]["decision_id"], "reason": "the annual premium"}


def test_a_held_payment_goes_with_an_override_once(
    client: httpx.Client, bank: RunningSandbox
) -> None:
    override = _held(client)
    assert client.get("/payments").json()["payments"] == []
    made = _pay(client, "one", override=override)
    assert made.status_code == 201
    assert made.json()["note"]["override"] == override
    assert made.json()["history"][0]["detail"] == "let through: the annual premium"
    again = _pay(client, "one", override=override)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    second = _pay(client, "two", override=override)
    assert second.status_code == 422
    assert made.json()["payment_id"] in second.json()["error"]
    assert len(bank.books.bookings()) == 1


def test_one_word_is_good_for_one_payment_whatever_decision_it_names(
    client: httpx.Client, bank: RunningSandbox, engine: Engine
) -> None:
    override = _held(client)
    assert _pay(client, "one", override=override).status_code == 201
    with engine.connect() as connection:
        known = connection.execute(select(tables.decisions.c.decision_id)).scalars().all()
    assert len(known) == 2
    for number, decision_id in enumerate(known):
        other = {"decision_id": decision_id, "reason": "the annual premium"}
        assert _pay(client, f"again-{number}", override=other).status_code == 422
    assert len(bank.books.bookings()) == 1


def test_two_keys_are_no_key(client: httpx.Client, bank: RunningSandbox) -> None:
    headers = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = client.post("/payment", json={**_BODY, "amount": "10.00"}, headers=headers)
    assert answer.status_code == 400
    assert "several Idempotency-Key" in answer.json()["error"]
    assert bank.books.bookings() == []


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("amount", "100.000000000000001"),
        ("executionDate", "1893456000"),
        ("executionDate", '"1893456000"'),
        ("executionDate", '"9999-12-31"'),
        ("currency", '"\u017fek"'),
    ],
)
def test_what_the_contract_does_not_allow_is_not_guessed_at(
    client: httpx.Client, bank: RunningSandbox, member: str, value: str
) -> None:
    members = {"accountA": '"Alice"', "accountB": '"Bob"', "amount": '"10.00"', member: value}
    body = ", ".join(f'"{name}": {text}' for name, text in members.items())
    answer = client.post("/payment", content=f"{{{body}}}".encode())
    assert answer.status_code == 400, answer.text
    assert answer.json()["errors"][0]["field"] == member
    assert bank.books.bookings() == []


def test_a_number_pays_just_the_digits_that_were_written(
    client: httpx.Client, bank: RunningSandbox
) -> None:
    answer = client.post("/payment", content=b'{"accountA":"A1","accountB":"B1","amount":1234.10}')
    assert answer.json()["amount"] == "1234.10"
    assert len(bank.books.bookings()) == 1


def test_a_reason_has_to_be_seen(client: httpx.Client) -> None:
    override = {**_held(client), "reason": "\u200b\u200b\u200b"}
    assert _pay(client, override=override).status_code == 400


def test_a_decision_about_another_payment_lets_nothing_through(client: httpx.Client) -> None:
    override = _held(client)
    answer = _pay(client, amount="9001.00", override=override)
    assert answer.status_code == 422
    assert "is not a decision about this payment" in answer.json()["error"]


def test_a_decision_cannot_be_forged_by_scoring(client: httpx.Client) -> None:
    held = _pay(client).json()["decision"]
    forged = client.post("/score", json={"tx_id": held["tx_id"], "amount": 1.0})
    assert forged.status_code == 400
    assert "a payment's own" in forged.json()["error"]
    assert client.post("/score", json={"tx_id": "payments", "amount": 1.0}).status_code == 200


@pytest.mark.parametrize(
    ("change", "told"),
    [({"recorded_at_us": 1}, "is older than 3600 s"), ({"level": 1}, "did not hold the payment")],
)
def test_an_old_or_a_harmless_decision_lets_nothing_through(
    client: httpx.Client, engine: Engine, change: dict[str, int], told: str
) -> None:
    override = _held(client)
    with engine.begin() as connection:
        connection.execute(update(tables.decisions).values(**change))
    answer = _pay(client, override=override)
    assert answer.status_code == 422
    assert told in answer.json()["error"]


def test_a_payment_that_may_be_booked_is_never_answered_with_held(
    client: httpx.Client, bank: RunningSandbox
) -> None:
    override = _held(client)
    bank.order("drop_after", times=3)
    assert _pay(client, "key", override=override).status_code == 504
    without = _pay(client)
    assert without.status_code == 409
    assert "(unknown," in without.json()["error"]
    again = _pay(client, "key", override=override)
    assert again.status_code == 201
    told = [event["detail"] for event in again.json()["history"]]
    assert f"a repeat named decision {override['decision_id']}: the annual premium" in told
    assert len(bank.books.bookings()) == 1


def test_a_rejection_told_again_says_so(client: httpx.Client, bank: RunningSandbox) -> None:
    bank.order("refused")
    first = _pay(client, "key", amount="5.00")
    again = _pay(client, "key", amount="5.00")
    assert first.status_code == again.status_code == 422
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


def test_a_ledger_that_fails_after_the_call_is_a_504_with_the_payment(
    client: httpx.Client, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER full BEFORE INSERT ON payment_events "
                "WHEN (SELECT count(*) FROM payment_events) >= 2 "
                "BEGIN SELECT RAISE(ABORT, 'secret words of the driver'); END"
            )
        )
    answer = _pay(client, "key", amount="5.00")
    assert answer.status_code == 504
    assert answer.json()["payment"]["payment_id"] in answer.json()["error"]
    assert "secret" not in answer.text


@pytest.mark.parametrize("request_id", ["bad\xa0id", "x" * 500, "a b"])
def test_a_request_id_that_no_header_carries_hurts_no_payment(
    client: httpx.Client, bank: RunningSandbox, request_id: str
) -> None:
    for number in range(6):
        answer = client.post(
            "/payment",
            json={**_BODY, "amount": f"{number + 1}.00"},
            headers=[(b"x-request-id", request_id.encode("latin-1"))],
        )
        assert answer.status_code == 201, answer.text
    assert len(bank.books.bookings()) == 6


def test_the_largest_amounts_are_scored_as_the_largest_that_the_scorer_takes(
    client: httpx.Client,
) -> None:
    answer = _pay(client, amount="2000000000000", currency="IDR")
    assert answer.status_code == 403
    assert "R1: amount > 3000" in answer.json()["decision"]["triggered_rules"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/payment/%00", 400), ("/payments?cursor=1.%00", 400), ("/payments?cursor=%00", 400)],
)
def test_a_nul_is_looked_for_nowhere(client: httpx.Client, path: str, status: int) -> None:
    assert client.get(path).status_code == status


def test_a_reason_is_one_line_of_text(client: httpx.Client) -> None:
    for reason in ("  ", "a\x00b", "two\nlines"):
        assert _pay(client, override={"decision_id": "d", "reason": reason}).status_code == 400
    assert _pay(client, override={"decision_id": "\x00", "reason": "good"}).status_code == 400


def test_the_openapi_document_tells_every_answer_to_a_payment(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    answers = document["paths"]["/payment"]["post"]["responses"]
    assert {"201", "400", "403", "409", "422", "503", "504"} <= set(answers)
    assert "200" not in answers
    assert "held" in answers["403"]["description"]
    assert "never under a new one" in answers["504"]["description"]
    for status in ("201", "422"):
        assert "Idempotency-Replayed" in answers[status]["headers"]
    for status in ("409", "503", "504"):
        assert "Retry-After" in answers[status]["headers"]
    problem = answers["403"]["content"]["application/problem+json"]["schema"]["$ref"]
    assert {"decision", "payment"} <= set(schemas[problem.rpartition("/")[2]]["properties"])
    override = schemas["PaymentOrder"]["properties"]["override"]
    assert {"$ref": "#/components/schemas/Override"} in override["anyOf"]
    assert schemas["Override"]["required"] == ["decision_id", "reason"]
    assert "within an hour" in schemas["Override"]["description"]


def test_more_payments_than_may_wait_are_told_when_to_come_back_and_none_is_lost(
    service: PaymentService, bank: RunningSandbox
) -> None:
    number = 130  # 32 threads, 64 that wait, and some more.
    bank.order("slow", times=number)
    together = threading.Barrier(number)
    told: Counter[str] = Counter()

    def pay(name: int) -> httpx.Response:
        together.wait()
        for _ in range(200):
            answer = service.pay(f"key-{name}", accountA=f"Payee {name}", amount="5.00")
            if answer.status_code == 201:
                return answer
            assert answer.status_code == 503, answer.text
            assert int(answer.headers["retry-after"]) >= 1
            told[answer.json()["error"]] += 1
            time.sleep(0.2)
        raise AssertionError(f"payment {name} was never made")

    with ThreadPoolExecutor(number) as callers:
        made = {answer.json()["payment_id"] for answer in callers.map(pay, range(number))}
    assert (
        told[
            "Paydesk is busy: 96 requests of this kind are under way. Send it again in some "
            "seconds."
        ]
        >= number - 96
    )
    assert len(made) == number
    books = [booking.end_to_end for booking in bank.books.bookings()]
    assert sorted(books) == sorted(payment_id.replace("-", "") for payment_id in made)


def _decision(level: str) -> Decision:
    return Decision(
        tx_id="payment:x",
        score=4,
        risk_level=level,
        triggered_rules=[],
        fraud=False,
        fraud_probability=0.0,
        reasons=[],
        model="test",
        decision_id="present",
    )


@pytest.mark.parametrize(
    ("agreed_to", "present", "floor", "goes"),
    [
        (Level.HIGH, "HIGH", "HIGH", True),
        (Level.CRITICAL, "HIGH", "HIGH", True),
        (Level.HIGH, "CRITICAL", "HIGH", False),
        (Level.HIGH, "MEDIUM", "HIGH", True),
        (Level.LOW, "CRITICAL", "NEVER", True),
    ],
)
def test_a_risk_that_has_grown_since_it_was_agreed_to_is_held_anew(
    engine: Engine, agreed_to: Level, present: str, floor: Any, goes: bool
) -> None:
    order = PaymentOrder.model_validate(
        {**_BODY, "override": {"decision_id": "named", "reason": "the annual premium"}}
    )
    with engine.connect() as connection:
        named: Any = connection.execute(
            select(
                literal("payment:x").label("tx_id"),
                literal(int(agreed_to)).label("level"),
                literal(1_000).label("recorded_at_us"),
            )
        ).one()
    if goes:
        approval = let_through(order, _decision(present), named, floor, 2_000)
        assert approval == Approval("named", "the annual premium", present)
    else:
        with pytest.raises(PaymentHeldError, match='"decision_id": "present"'):
            let_through(order, _decision(present), named, floor, 2_000)


def test_a_payment_like_it_that_nobody_has_seen_stands_in_the_way(
    client: httpx.Client, bank: RunningSandbox
) -> None:
    form = {**_BODY, "amount": "10.00", "currency": "EUR"}

    def pay(key: str, beside: str) -> httpx.Response:
        body = {**form, "beside": beside}
        return client.post("/payment", json=body, headers={"Idempotency-Key": key})

    first = pay("one", "none")
    assert first.status_code == 201
    one = first.json()["payment_id"]
    refused = pay("two", "none")
    assert refused.status_code == 409
    assert refused.json()["alike"]["payment_id"] == one
    assert "payment" not in refused.json()
    assert f'"beside": "{one}"' in refused.json()["error"]
    assert len(client.get("/payments").json()["payments"]) == len(bank.books.bookings()) == 1
    two = pay("two", one)
    assert two.status_code == 201
    # Who has seen the first has not seen the second; who has seen the second has seen enough.
    assert pay("three", one).json()["alike"]["payment_id"] == two.json()["payment_id"]
    assert pay("three", two.json()["payment_id"]).status_code == 201
    # A repeat is the same payment, whatever its person has seen.
    for beside in ("none", one):
        again = pay("one", beside)
        assert again.status_code == 201
        assert again.json()["payment_id"] == one
    nobodys = "01990a6e-7c1e-7b0a-9d5e-2f6c8a1b3c4e"
    assert pay("four", nobodys).status_code == 409
    assert pay("four", "nothing").status_code == 400
    assert len(bank.books.bookings()) == 3


def test_of_many_at_once_beside_none_one_is_paid(
    client: httpx.Client, bank: RunningSandbox
) -> None:
    body = {**_BODY, "amount": "10.00", "beside": "none"}
    with ThreadPoolExecutor(8) as callers:
        keys = [{"Idempotency-Key": f"key-{n}"} for n in range(8)]
        asked = [callers.submit(client.post, "/payment", json=body, headers=key) for key in keys]
        statuses = sorted(one.result().status_code for one in asked)
    assert statuses == [201] + [409] * 7
    assert len(bank.books.bookings()) == 1


def test_payments_in_one_state_are_listed_alone(client: httpx.Client, bank: RunningSandbox) -> None:
    body = {**_BODY, "amount": "10.00"}
    assert client.post("/payment", json=body).status_code == 201
    bank.order("refused")
    other = {**_BODY, "amount": "11.00"}
    assert client.post("/payment", json=other).status_code == 422
    (rejected,) = client.get("/payments?state=rejected").json()["payments"]
    assert rejected["amount"] == "11.00"
    assert client.get("/payments?state=unknown").json()["payments"] == []
    assert client.get("/payments?state=lost").status_code == 400


def test_a_review_names_an_earlier_payment_like_it(
    client: httpx.Client, bank: RunningSandbox, engine: Engine
) -> None:
    form = {**_BODY, "amount": "10.00", "currency": "EUR"}

    def alike(**changes: str) -> Any:
        answer = client.post("/review", json={**form, **changes})
        assert answer.status_code == 200, answer.text
        return answer.json()["alike"]

    assert alike() is None
    made = client.post("/payment", json=form, headers={"Idempotency-Key": "one"}).json()
    # However it is written, and to whatever account.
    found = alike(amount="10", accountA=" Alice ", creditorAccount="DE89 3704 0044 0532 0130 00")
    for name in ("payment_id", "state", "bank_reference", "created_at"):
        assert found[name] == made[name]
    for other in (
        {"amount": "10.01"},
        {"currency": "USD"},
        {"accountA": "Ann"},
        {"accountB": "Al"},
    ):
        assert alike(**other) is None
    assert len(client.get("/payments").json()["payments"]) == len(bank.books.bookings()) == 1
    long_ago = update(tables.payments).values(created_at_us=1)
    with engine.begin() as connection:
        connection.execute(long_ago)
    assert alike() is None
    with engine.begin() as connection:
        connection.execute(long_ago.values(state="unknown"))
    assert alike()["state"] == "unknown"
    with engine.begin() as connection:
        connection.execute(update(tables.payments).values(created_at_us=now_us(), state="rejected"))
    assert alike() is None
