"""The ledger: every payment and every change of it, on disk before and after the bank is called.

    recorded ──► sent ──► accepted | rejected | unknown        unknown ──► sent (the same key)

`recorded`: the bank certainly does not have it. `sent`: a call is on its way, or its process died.
`unknown`: the bank may have it. A payment is sent by one caller at a time, because the change to
`sent` is a compare-and-set; and always with the key it got when it was recorded.
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from sqlalchemy import Connection, Engine, Row, and_, insert, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from paydesk.payments.answers import InDoubt, Initiated, NotSent, Refused, Taken
from paydesk.payments.errors import CursorInvalidError, PaymentNotFoundError, PaymentSettledError
from paydesk.payments.payment import PaymentEvent, PaymentPage, PaymentRecord, State
from paydesk.storage import tables
from paydesk.storage.database import DatabaseUnavailableError, now_us, writing

# What may follow what; every change is checked against it.
NEXT: Final[Mapping[State, frozenset[State]]] = {
    "recorded": frozenset({"sent", "rejected"}),
    "sent": frozenset({"recorded", "accepted", "rejected", "unknown", "sent"}),
    "unknown": frozenset({"sent", "accepted", "rejected"}),
    "accepted": frozenset({"accepted", "rejected"}),
    "rejected": frozenset({"accepted"}),  # Only by the bank's own word, and never quietly.
}

# ISO 20022 payment status codes. One that is not here leaves the payment unknown.
_TAKEN = frozenset(
    {"PDNG", "RCVD", "PATC", "ACTC", "ACCP", "ACFC", "ACSP", "ACWC", "ACWP", "ACSC", "ACCC"}
)
_REFUSED = frozenset({"RJCT", "CANC"})
_FINAL = frozenset({"ACSC", "ACCC", "RJCT", "CANC"})

PAGE_LIMIT = 200

_SECOND_US = 1_000_000
_payments = tables.payments.c
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draft:
    """A new payment, ready to be recorded; `amount` is text in the currency's own decimals."""

    payment_id: str
    creditor: str
    debtor: str
    amount: str
    currency: str
    digest: str
    instruction: bytes
    sandbox: bool
    client_key: str | None = None
    note: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Claim:
    """The right to call the bank for a payment, until `due_at_us`.

    `attempt` tells this claim from later ones. `in_doubt`: an earlier call may have booked it.
    """

    payment_id: str
    attempt: int
    in_doubt: bool
    bank_key: str
    instruction: bytes
    bank_reference: str | None
    first_sent_at_us: int


@dataclass(frozen=True)
class Entry:
    """A payment with what only the office and the reconciler need to know of it."""

    payment: PaymentRecord
    digest: str
    client_key: str | None
    due_at_us: int | None


class Ledger:
    """Reads and writes payments. Methods raise DatabaseUnavailableError when the database is gone.

    `clock` gives microseconds since 1970.
    """

    def __init__(self, engine: Engine, clock: Callable[[], int] = now_us) -> None:
        self._engine = engine
        self._clock = clock

    def record(self, draft: Draft, request_id: str, window_s: int) -> tuple[Entry, bool]:
        """Records `draft`, or finds the payment that stands in its way; True when it is new.

        In the way stands one with the same client key, or, without a key, one of the same payee,
        payer, amount and currency that is not rejected and younger than `window_s` seconds.
        """
        with _writing(self._engine) as connection:
            _one_at_a_time(connection, draft)
            row = self._in_the_way(connection, draft, window_s)
            if row is not None:
                return self._entry(connection, row), False
            now = self._clock()
            connection.execute(
                insert(tables.payments).values(
                    payment_id=draft.payment_id,
                    created_at_us=now,
                    updated_at_us=now,
                    state="recorded",
                    creditor=draft.creditor,
                    debtor=draft.debtor,
                    amount=draft.amount,
                    currency=draft.currency,
                    client_key=draft.client_key,
                    request_digest=draft.digest,
                    bank_key=uuid.uuid4().hex,
                    instruction=draft.instruction.decode(),
                    sandbox=draft.sandbox,
                    note=None if draft.note is None else json.dumps(draft.note),
                )
            )
            _event(connection, draft.payment_id, now, "recorded", "recorded", request_id)
            return self._entry(connection, _row(connection, draft.payment_id)), True

    def claim(
        self, payment_id: str, request_id: str, lease_s: float, by: str = "its caller"
    ) -> Claim | None:
        """The right to call the bank, when the payment is open and nobody else is calling.

        Open is one that is recorded or unknown, or sent by a caller whose `lease_s` (seconds) is
        over. None: somebody else has it, or it is settled. `by` goes into the history.
        """
        with _writing(self._engine) as connection:
            now = self._clock()
            row = _row(connection, payment_id)
            abandoned = row.state == "sent" and row.due_at_us <= now
            if row.state not in {"recorded", "unknown"} and not abandoned:
                return None
            claim = Claim(
                payment_id=payment_id,
                attempt=row.attempt + 1,
                in_doubt=row.in_doubt or row.state != "recorded",
                bank_key=row.bank_key,
                instruction=row.instruction.encode(),
                bank_reference=row.bank_reference,
                first_sent_at_us=row.first_sent_at_us or now,
            )
            changed = _change(
                connection,
                row,
                now,
                "sent",
                f"attempt {claim.attempt}, by {by}",
                request_id,
                attempt=claim.attempt,
                in_doubt=claim.in_doubt,
                first_sent_at_us=claim.first_sent_at_us,
                due_at_us=now + round(lease_s * _SECOND_US),
            )
            return claim if changed else None

    def settle(self, claim: Claim, answer: Initiated, request_id: str, ask_in_s: float) -> Entry:
        """Writes down what the bank's answer to `claim` means; the payment as it then is.

        An answer that the bank took the payment counts whenever it comes. Any other counts only
        from the latest claim, and proves that nothing is booked only when no earlier call was left
        in doubt. An unknown payment is to be asked about in `ask_in_s` seconds.
        """
        with _writing(self._engine) as connection:
            now = self._clock()
            row = _row(connection, claim.payment_id)
            ask_at = now + round(ask_in_s * _SECOND_US)
            if isinstance(answer, Taken):
                self._taken(connection, row, now, answer, request_id, ask_at)
            elif row.state == "sent" and row.attempt == claim.attempt:
                state, detail = _without_booking(answer, in_doubt=claim.in_doubt)
                _change(
                    connection,
                    row,
                    now,
                    state,
                    detail,
                    request_id,
                    in_doubt=state == "unknown",
                    first_sent_at_us=None if state == "recorded" else row.first_sent_at_us,
                    due_at_us=ask_at if state == "unknown" else None,
                    **_told(answer),
                )
            return self._entry(connection, _row(connection, claim.payment_id))

    def watch(self, payment_id: str, seen_due_at_us: int | None, ask_in_s: float | None) -> bool:
        """Reserves the next question about an accepted payment; False when another worker has.

        With None no question comes after this one.
        """
        due_at_us = None if ask_in_s is None else self._clock() + round(ask_in_s * _SECOND_US)
        with _writing(self._engine) as connection:
            result = connection.execute(
                update(tables.payments)
                .where(
                    _payments.payment_id == payment_id,
                    _payments.state == "accepted",
                    _payments.due_at_us == seen_due_at_us,
                )
                .values(due_at_us=due_at_us)
            )
            return result.rowcount == 1

    def follow(self, payment_id: str, answer: Taken, request_id: str, ask_in_s: float) -> Entry:
        """Writes down the status that the bank has for an accepted payment now."""
        with _writing(self._engine) as connection:
            now = self._clock()
            row = _row(connection, payment_id)
            ask_at = now + round(ask_in_s * _SECOND_US)
            self._taken(connection, row, now, answer, request_id, ask_at)
            return self._entry(connection, _row(connection, payment_id))

    def abandon(self, payment_id: str, detail: str, request_id: str) -> bool:
        """Rejects a payment that is recorded and was never sent; False when that has changed."""
        with _writing(self._engine) as connection:
            row = _row(connection, payment_id)
            if row.state != "recorded":
                return False
            return _change(connection, row, self._clock(), "rejected", detail, request_id)

    def postpone(self, payment_id: str, detail: str, request_id: str) -> None:
        """Stops asking about an unknown payment, saying why: from here on a person has to."""
        with _writing(self._engine) as connection:
            row = _row(connection, payment_id)
            if row.state == "unknown" and row.due_at_us is not None:
                now = self._clock()
                connection.execute(
                    update(tables.payments)
                    .where(_payments.payment_id == payment_id)
                    .values(due_at_us=None, updated_at_us=now)
                )
                _event(connection, payment_id, now, "unknown", detail, request_id)

    def settle_by_hand(
        self, payment_id: str, reference: str | None, reason: str, request_id: str
    ) -> Entry:
        """What a person learnt from the bank: accepted under `reference`, or, with None, rejected.

        Raises PaymentNotFoundError, and PaymentSettledError unless the payment is unknown.
        """
        with _writing(self._engine) as connection:
            row = _row(connection, payment_id)
            if row.state != "unknown":
                raise PaymentSettledError(self._entry(connection, row).payment)
            state: State = "rejected" if reference is None else "accepted"
            _change(
                connection,
                row,
                self._clock(),
                state,
                f"by hand: {reason}",
                request_id,
                bank_reference=reference,
                due_at_us=None,
                in_doubt=False,
            )
            return self._entry(connection, _row(connection, payment_id))

    def due(self, limit: int, unsent_age_s: float, *, sandbox: bool) -> list[Entry]:
        """The payments, at most `limit`, about which something is to be done now, oldest first.

        `recorded` ones are due when they have been for `unsent_age_s` seconds. Those made at the
        sandbox are nothing to ask a real bank about, and the other way round.
        """
        now = self._clock()
        asked = and_(
            _payments.state.in_(["sent", "unknown", "accepted"]), _payments.due_at_us <= now
        )
        unsent = and_(
            _payments.state == "recorded",
            _payments.updated_at_us <= now - round(unsent_age_s * _SECOND_US),
        )
        with _reading(self._engine) as connection:
            rows = connection.execute(
                select(tables.payments)
                .where(_payments.sandbox == sandbox, or_(asked, unsent))
                .order_by(_payments.created_at_us)
                .limit(limit)
            ).all()
            return [_bare_entry(row) for row in rows]

    def entry(self, payment_id: str) -> Entry:
        """A payment with its history. Raises PaymentNotFoundError."""
        with _reading(self._engine) as connection:
            return self._entry(connection, _row(connection, payment_id, lock=False))

    def by_client_key(self, client_key: str) -> Entry | None:
        """The payment that was recorded under the caller's key, if any."""
        with _reading(self._engine) as connection:
            row = connection.execute(
                select(tables.payments).where(_payments.client_key == client_key)
            ).one_or_none()
            return None if row is None else self._entry(connection, row)

    def page(self, cursor: str | None, limit: int) -> PaymentPage:
        """Up to `limit` payments (1 to PAGE_LIMIT) from `cursor` on, newest first.

        Raises CursorInvalidError.
        """
        if not 1 <= limit <= PAGE_LIMIT:
            raise CursorInvalidError(
                f"The limit is {limit}; 1 to {PAGE_LIMIT} payments fit a page. Ask for fewer."
            )
        query = select(tables.payments)
        if cursor:
            created_at_us, payment_id = _position(cursor)
            query = query.where(
                or_(
                    _payments.created_at_us < created_at_us,
                    and_(
                        _payments.created_at_us == created_at_us,
                        _payments.payment_id < payment_id,
                    ),
                )
            )
        query = query.order_by(_payments.created_at_us.desc(), _payments.payment_id.desc())
        with _reading(self._engine) as connection:
            rows = connection.execute(query.limit(limit + 1)).all()
        shown = rows[:limit]
        more = len(rows) > limit
        return PaymentPage(
            payments=tuple(_record(row) for row in shown),
            next_cursor=f"{shown[-1].created_at_us}.{shown[-1].payment_id}" if more else None,
        )

    def _in_the_way(self, connection: Connection, draft: Draft, window_s: int) -> Row[Any] | None:
        if draft.client_key is not None:
            return connection.execute(
                select(tables.payments).where(_payments.client_key == draft.client_key)
            ).one_or_none()
        return connection.execute(
            select(tables.payments)
            .where(
                _payments.creditor == draft.creditor,
                _payments.debtor == draft.debtor,
                _payments.amount == draft.amount,
                _payments.currency == draft.currency,
                _payments.sandbox == draft.sandbox,
                _payments.created_at_us > self._clock() - window_s * _SECOND_US,
                _payments.state != "rejected",
            )
            # One that the bank may have tells more than one that it certainly has not.
            .order_by(_payments.state == "recorded", _payments.created_at_us.desc())
            .limit(1)
        ).one_or_none()

    def _taken(
        self,
        connection: Connection,
        row: Row[Any],
        now: int,
        answer: Taken,
        request_id: str,
        ask_at: int,
    ) -> None:
        state = _state_of(answer.status)
        if row.bank_reference not in {None, answer.reference}:
            self._second_reference(connection, row, now, answer, request_id)
            return
        # A replay repeats the bank's first answer: what came later is not taken back by it.
        repeated = row.bank_status == answer.status
        taken_back = row.bank_status in _FINAL and answer.status not in _FINAL
        if state not in NEXT[row.state] or (row.state != "sent" and (repeated or taken_back)):
            return
        if row.state == "rejected":
            _log.error("The bank has taken payment %s, rejected here. Ask it.", row.payment_id)
        final = answer.status in _FINAL
        _change(
            connection,
            row,
            now,
            state,
            f"the bank says {answer.status}" + (f": {answer.reason}" if answer.reason else ""),
            request_id,
            bank_reference=answer.reference,
            bank_status=answer.status,
            bank_answer=json.dumps(answer.answer),
            in_doubt=state == "unknown",
            due_at_us=None if final else ask_at,
        )

    def _second_reference(
        self, connection: Connection, row: Row[Any], now: int, answer: Taken, request_id: str
    ) -> None:
        """Two references for one key: the bank may have booked twice, and a person must look."""
        detail = f"the bank names a second reference for this payment: {answer.reference}"
        _log.error("Payment %s: %s. Ask the bank.", row.payment_id, detail)
        if row.state == "sent":
            _change(
                connection, row, now, "unknown", detail, request_id, in_doubt=True, due_at_us=None
            )
        else:
            _event(connection, row.payment_id, now, row.state, detail, request_id)

    def _entry(self, connection: Connection, row: Row[Any]) -> Entry:
        events = connection.execute(
            select(tables.payment_events)
            .where(tables.payment_events.c.payment_id == row.payment_id)
            .order_by(tables.payment_events.c.seq)
        ).all()
        history = tuple(
            PaymentEvent(
                at=_time(event.at_us),
                state=event.state,
                detail=event.detail,
                request_id=event.request_id,
                bank_reference=event.bank_reference,
            )
            for event in events
        )
        return _bare_entry(row, history)


def _state_of(status: str) -> State:
    if status in _REFUSED:
        return "rejected"
    return "accepted" if status in _TAKEN else "unknown"


def _without_booking(answer: Refused | NotSent | InDoubt, *, in_doubt: bool) -> tuple[State, str]:
    """The state after an answer that is not `Taken`: doubt, once there, is not argued away."""
    if isinstance(answer, InDoubt):
        return "unknown", f"no clear answer from the bank: {answer.reason}"
    said = "refused" if isinstance(answer, Refused) else "not sent"
    if in_doubt:
        return "unknown", f"{said}, but an earlier call may have booked it: {answer.reason}"
    return ("rejected" if isinstance(answer, Refused) else "recorded"), f"{said}: {answer.reason}"


def _told(answer: Refused | NotSent | InDoubt) -> dict[str, str]:
    if isinstance(answer, Refused) and answer.answer is not None:
        return {"bank_answer": json.dumps(answer.answer)}
    return {}


def _change(
    connection: Connection,
    row: Row[Any],
    now: int,
    state: State,
    detail: str,
    request_id: str,
    **values: Any,
) -> bool:
    """Compare-and-set: `row` as read becomes `state`, with the event in the same transaction."""
    if state not in NEXT[cast(State, row.state)]:
        raise AssertionError(f"{row.state} cannot become {state}")
    result = connection.execute(
        update(tables.payments)
        .where(
            _payments.payment_id == row.payment_id,
            _payments.state == row.state,
            _payments.attempt == row.attempt,
        )
        .values(state=state, updated_at_us=now, **values)
    )
    if result.rowcount == 1:
        reference = values.get("bank_reference", row.bank_reference)
        _event(connection, row.payment_id, now, state, detail, request_id, reference)
    return result.rowcount == 1


def _event(
    connection: Connection,
    payment_id: str,
    now: int,
    state: State,
    detail: str,
    request_id: str,
    bank_reference: str | None = None,
) -> None:
    connection.execute(
        insert(tables.payment_events).values(
            payment_id=payment_id,
            at_us=now,
            state=state,
            detail=detail,
            request_id=request_id,
            bank_reference=bank_reference,
        )
    )


def _row(connection: Connection, payment_id: str, *, lock: bool = True) -> Row[Any]:
    query = select(tables.payments).where(_payments.payment_id == payment_id)
    # SQLite's writers are alone from the start of their transaction on.
    if lock and connection.dialect.name != "sqlite":
        query = query.with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None:
        raise PaymentNotFoundError(payment_id)
    return row


def _one_at_a_time(connection: Connection, draft: Draft) -> None:
    """Lets no two payments that could be the same one be recorded at the same time."""
    if connection.dialect.name == "sqlite":
        return
    # In this order always, so that no two wait for each other.
    for alike in (f"{draft.creditor}|{draft.debtor}|{draft.amount}", draft.client_key):
        if alike is not None:
            number = int.from_bytes(hashlib.sha256(alike.encode()).digest()[:8], "big", signed=True)
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})


def _bare_entry(row: Row[Any], history: tuple[PaymentEvent, ...] = ()) -> Entry:
    return Entry(
        payment=_record(row, history),
        digest=row.request_digest,
        client_key=row.client_key,
        due_at_us=row.due_at_us,
    )


def _record(row: Row[Any], history: tuple[PaymentEvent, ...] = ()) -> PaymentRecord:
    return PaymentRecord(
        payment_id=row.payment_id,
        state=row.state,
        bank_reference=row.bank_reference,
        bank_status=row.bank_status,
        amount=row.amount,
        currency=row.currency,
        creditor=row.creditor,
        debtor=row.debtor,
        sandbox=row.sandbox,
        created_at=_time(row.created_at_us),
        updated_at=_time(row.updated_at_us),
        bank=None if row.bank_answer is None else json.loads(row.bank_answer),
        note=None if row.note is None else json.loads(row.note),
        history=history,
    )


def _time(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / _SECOND_US, UTC)


def _position(cursor: str) -> tuple[int, str]:
    created_at_us, _, payment_id = cursor.partition(".")
    if not (created_at_us.isdecimal() and len(created_at_us) < 19 and payment_id):
        raise CursorInvalidError(
            f"The cursor {cursor[:40]!r} is not one of this list. Start again without a cursor."
        )
    return int(created_at_us), payment_id


@contextmanager
def _writing(engine: Engine) -> Iterator[Connection]:
    with _available(), writing(engine) as connection:
        yield connection


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    with _available(), engine.connect() as connection:
        yield connection


@contextmanager
def _available() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        reason = getattr(error, "orig", None) or type(error).__name__
        raise DatabaseUnavailableError(
            f"The ledger cannot be used now: {reason}. Nothing more was recorded; try again, and "
            "look at the payment before you pay anew."
        ) from error
