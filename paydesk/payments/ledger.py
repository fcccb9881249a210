"""The ledger: every payment and every change of it, on disk before and after the bank is called.

    recorded ──► sent ──► accepted | rejected | unknown        unknown ──► sent (the same key)

`recorded`: the bank certainly does not have it. `sent`: a call is on its way, or its process died.
`unknown`: the bank may have it. A payment is sent by one caller at a time, because the change to
`sent` is a compare-and-set; and always with the key it got when it was recorded.
"""

import hashlib
import json
import logging
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import Connection, Engine, Row, Select, and_, insert, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from paydesk.payments import rows
from paydesk.payments.answers import InDoubt, Initiated, NotSent, Refused, Taken
from paydesk.payments.approval import Approval
from paydesk.payments.errors import (
    CursorInvalidError,
    OverrideInvalidError,
    PaymentAlikeError,
    PaymentNotFoundError,
    PaymentSettledError,
    SettlementInvalidError,
)
from paydesk.payments.identity import BankIdentity
from paydesk.payments.payment import (
    NONE_SEEN,
    PaymentEvent,
    PaymentPage,
    PaymentRecord,
    State,
)
from paydesk.storage import tables
from paydesk.storage.database import DatabaseUnavailableError, now_us, writing

# What may follow what; every change is checked against it.
NEXT: Final[Mapping[State, frozenset[State]]] = {
    # Unknown only when a backup was restored: what came after it may have been sent.
    "recorded": frozenset({"sent", "rejected", "unknown"}),
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

_OPEN = ("recorded", "sent", "unknown")

PAGE_LIMIT = 200

_SECOND_US = 1_000_000
# Clocks are corrected by seconds all the time; by more, and nobody knows what time it is.
_CLOCK_TOLERANCE_US = 300 * _SECOND_US
# No lease and no question lies further ahead: a later one was set by a clock that was wrong.
_FARTHEST_US = 7_200 * _SECOND_US
_ID = re.compile(r"[0-9A-Za-z-]{1,36}")
_LISTED = [column for column in tables.payments.c if column.name != "bank_answer"]
_payments = tables.payments.c
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Draft:
    """A new payment, ready to be recorded; `amount` is text in the currency's own decimals.

    `beside` is the id of the latest payment like it that a person has seen, `NONE_SEEN` where they
    were shown none; None: nobody was asked.
    """

    payment_id: str
    creditor: str
    debtor: str
    amount: str
    currency: str
    digest: str
    instruction: bytes
    sandbox: bool
    client_key: str | None = None
    approval: Approval | None = None
    beside: str | None = None


@dataclass(frozen=True)
class Claim:
    """The right to call the bank for a payment, until `due_at_us`.

    `attempt` tells this claim from later ones. `in_doubt`: an earlier call may have booked it.
    `key_age_us` is how long the bank has had the key at most; None: nobody knows, because the
    clock was set back.
    """

    payment_id: str
    attempt: int
    in_doubt: bool
    bank_key: str
    instruction: bytes
    bank_reference: str | None
    first_sent_at_us: int
    key_age_us: int | None = 0


@dataclass(frozen=True)
class Entry:
    """A payment with what only the office and the reconciler need to know of it.

    `elsewhere`: it was sent to another bank than the present one. `key_age_us` is as in Claim.
    """

    payment: PaymentRecord
    digest: str
    client_key: str | None
    due_at_us: int | None
    attempt: int
    elsewhere: bool
    key_age_us: int | None


class Ledger:
    """Reads and writes payments. Methods raise DatabaseUnavailableError when the database is gone.

    `bank` is the one that claims are for. `clock` gives microseconds since 1970.
    """

    def __init__(
        self, engine: Engine, bank: BankIdentity, clock: Callable[[], int] = now_us
    ) -> None:
        self._engine = engine
        self._bank = bank
        self._clock = clock
        self._time = threading.Lock()
        self._latest_us = 0
        self._set_back_us = 0

    def record(self, draft: Draft, request_id: str, window_s: int) -> tuple[Entry, bool]:
        """Records `draft`, or finds the payment that stands in its way; True when it is new.

        In the way stands one with the same client key, or, without a key, one of the same payee,
        payer, amount and currency that the bank may have, or that is not rejected and younger than
        `window_s` seconds. Raises OverrideInvalidError when the draft's approval was used before,
        and PaymentAlikeError when there is such a one that is newer than what its person has seen.
        """
        with _writing(self._engine) as connection:
            _one_at_a_time(connection, draft)
            row = self._in_the_way(connection, draft, window_s)
            if row is not None:
                return self._entry(connection, row), False
            if (unseen := self._unseen(connection, draft, window_s)) is not None:
                raise PaymentAlikeError(self._entry(connection, unseen).payment)
            approval = draft.approval
            if approval is not None:
                _refuse_used(connection, approval)
            now = self._now()
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
                    note=None if approval is None else json.dumps(approval.note()),
                )
            )
            _event(
                connection,
                draft.payment_id,
                now,
                "recorded",
                "recorded" if approval is None else f"let through: {approval.reason}",
                request_id,
                override_decision_id=None if approval is None else approval.decision_id,
            )
            return self._entry(connection, _row(connection, draft.payment_id)), True

    def in_the_way(
        self,
        client_key: str | None,
        names: tuple[str, str],
        money: tuple[str, str] | None,
        window_s: int,
    ) -> Entry | None:
        """The payment that would stand in the way of one like this; see `record`.

        `names` are creditor and debtor, `money` amount and currency; None where they are not known.
        """
        with _reading(self._engine) as connection:
            if client_key is not None:
                row = connection.execute(_with_key(client_key)).one_or_none()
            elif money is not None:
                row = connection.execute(self._alike(names, money, window_s)).one_or_none()
            else:
                row = None
            return None if row is None else self._entry(connection, row)

    def claim(
        self,
        payment_id: str,
        request_id: str,
        lease_s: float,
        by: str = "its caller",
        instruction: bytes | None = None,
    ) -> Claim | None:
        """The right to call the bank, when the payment is open and nobody else is calling.

        Open is one that is recorded or unknown, or sent by a caller whose `lease_s` (seconds) is
        over. None: somebody else has it, a person has been given it, it is settled, or it is
        another bank's. `by` goes into the history. `instruction` replaces that of a payment which
        nobody ever claimed.
        """
        with _writing(self._engine) as connection:
            now = self._now()
            row = _row(connection, payment_id)
            if not _free(row, now) or _given(row) or self._elsewhere(row):
                return None
            unseen = instruction is not None and row.attempt == 0
            content = instruction if instruction and unseen else row.instruction.encode()
            claim = Claim(
                payment_id=payment_id,
                attempt=row.attempt + 1,
                in_doubt=row.in_doubt or row.state != "recorded",
                bank_key=row.bank_key,
                instruction=content,
                bank_reference=row.bank_reference,
                first_sent_at_us=row.first_sent_at_us or now,
                key_age_us=self._key_age_us(row, now),
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
                instruction=content.decode(),
                bank_fingerprint=self._bank.fingerprint,
                first_sent_at_us=claim.first_sent_at_us,
                due_at_us=now + round(lease_s * _SECOND_US),
            )
            return claim if changed else None

    def settle(self, claim: Claim, answer: Initiated, request_id: str, ask_in_s: float) -> Entry:
        """Writes down what the bank's answer to `claim` means; the payment as it then is.

        An answer that the bank took the payment counts whenever it comes. Any other counts only
        from the latest claim, and proves that nothing is booked only when no earlier call was left
        in doubt. An unknown payment is to be asked about in `ask_in_s` seconds, unless by hand.
        """
        with _writing(self._engine) as connection:
            now = self._now()
            row = _row(connection, claim.payment_id)
            ask_at = now + round(ask_in_s * _SECOND_US)
            if isinstance(answer, Taken):
                self._taken(connection, row, now, answer, request_id, ask_at)
            elif row.state == "sent" and row.attempt == claim.attempt:
                state, detail = _without_booking(answer, in_doubt=claim.in_doubt)
                by_hand = isinstance(answer, InDoubt) and answer.by_hand
                never = {"first_sent_at_us": None, "bank_fingerprint": None}
                _change(
                    connection,
                    row,
                    now,
                    state,
                    detail,
                    request_id,
                    in_doubt=state == "unknown",
                    due_at_us=ask_at if state == "unknown" and not by_hand else None,
                    **(never if state == "recorded" else {}),
                    **_told(answer),
                )
            return self._entry(connection, _row(connection, claim.payment_id))

    def watch(self, payment_id: str, seen_due_at_us: int | None, ask_in_s: float | None) -> bool:
        """Reserves the next question about an accepted payment; False when another worker has.

        With None no question comes after this one.
        """
        due_at_us = None if ask_in_s is None else self._now() + round(ask_in_s * _SECOND_US)
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
            now = self._now()
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
            return _change(connection, row, self._now(), "rejected", detail, request_id)

    def hand_over(self, payment_id: str, detail: str, request_id: str) -> Entry:
        """Stops asking and sending, saying why: from here on a person has to.

        Changes only an open payment that nobody is sending and that no person has been given yet.
        """
        with _writing(self._engine) as connection:
            now = self._now()
            row = _row(connection, payment_id)
            if row.state in {"sent", "unknown"} and row.due_at_us is not None and _free(row, now):
                _give_up(connection, row, now, detail, request_id)
            return self._entry(connection, _row(connection, payment_id))

    def restored(self, request_id: str) -> int:
        """After a backup was restored: gives to a person what may have gone on after it.

        How many payments these are: all that were open and that no person had been given yet.
        """
        with _writing(self._engine) as connection:
            now = self._now()
            # An unknown one too: a person may have settled it since as not booked, and paid anew.
            asked_about = and_(_payments.state == "unknown", _payments.due_at_us.is_not(None))
            open_ones = select(tables.payments).where(
                or_(_payments.state.in_(["recorded", "sent"]), asked_about)
            )
            found = connection.execute(open_ones.with_for_update()).all()
            for row in found:
                detail = "a backup was restored: the payment may have been sent after it was made"
                _give_up(connection, row, now, detail, request_id)
            return len(found)

    def remark(self, payment_id: str, detail: str, request_id: str) -> None:
        """Adds what a caller says beside to the history of an open payment, once."""
        events = tables.payment_events.c
        with _writing(self._engine) as connection:
            row = _row(connection, payment_id)
            same = select(events.seq).where(
                events.payment_id == payment_id, events.detail == detail
            )
            if row.state in _OPEN and connection.execute(same.limit(1)).first() is None:
                _event(
                    connection,
                    payment_id,
                    self._now(),
                    row.state,
                    detail,
                    request_id,
                    row.bank_reference,
                )

    def settle_by_hand(
        self, payment_id: str, reference: str | None, reason: str, request_id: str
    ) -> Entry:
        """What a person learnt from the bank: accepted under `reference`, or, with None, rejected.

        A reference that the bank gave before stays in the history. Raises PaymentNotFoundError,
        PaymentSettledError unless the payment is unknown, or sent by a caller that has died, and
        SettlementInvalidError where the reference is another payment's.
        """
        with _writing(self._engine) as connection:
            now = self._now()
            row = _row(connection, payment_id)
            if row.state not in {"unknown", "sent"} or not _free(row, now):
                raise PaymentSettledError(self._entry(connection, row).payment)
            if reference is not None:
                _refuse_taken(connection, payment_id, reference)
            state: State = "rejected" if reference is None else "accepted"
            _change(
                connection,
                row,
                now,
                state,
                f"by hand: {reason}",
                request_id,
                bank_reference=reference or row.bank_reference,
                due_at_us=None,
                in_doubt=False,
            )
            return self._entry(connection, _row(connection, payment_id))

    def due(self, limit: int, unsent_age_s: float) -> list[Entry]:
        """The payments, at most `limit`, about which something is to be done now, oldest first.

        `recorded` ones are due when they have been for `unsent_age_s` seconds. Accepted ones of
        another bank are not: the present one knows nothing of them.
        """
        now = self._now()
        mine = and_(
            or_(
                _payments.bank_fingerprint.is_(None),
                _payments.bank_fingerprint == self._bank.fingerprint,
            ),
            _payments.sandbox == self._bank.sandbox,
        )
        asked = or_(
            _payments.state.in_(["sent", "unknown"]), and_(_payments.state == "accepted", mine)
        )
        in_time = or_(_payments.due_at_us <= now, _payments.due_at_us > now + _FARTHEST_US)
        unsent = and_(
            _payments.state == "recorded",
            _payments.updated_at_us <= now - round(unsent_age_s * _SECOND_US),
        )
        with _reading(self._engine) as connection:
            found = connection.execute(
                select(*_LISTED)
                .where(or_(and_(asked, in_time), unsent))
                .order_by(_payments.created_at_us)
                .limit(limit)
            ).all()
            return [self._bare_entry(row, now) for row in found]

    def entry(self, payment_id: str) -> Entry:
        """A payment with its history. Raises PaymentNotFoundError."""
        with _reading(self._engine) as connection:
            return self._entry(connection, _row(connection, payment_id, lock=False))

    def page(self, cursor: str | None, limit: int, state: State | None = None) -> PaymentPage:
        """Up to `limit` payments (1 to PAGE_LIMIT) from `cursor` on, newest first.

        With `state` only those that are in it. Raises CursorInvalidError.
        """
        if not 1 <= limit <= PAGE_LIMIT:
            raise CursorInvalidError(
                f"The limit is {limit}; 1 to {PAGE_LIMIT} payments fit a page. Ask for fewer."
            )
        query = select(*_LISTED)
        if state is not None:
            query = query.where(_payments.state == state)
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
            found = connection.execute(query.limit(limit + 1)).all()
        shown = found[:limit]
        more = len(found) > limit
        return PaymentPage(
            payments=tuple(rows.record(row) for row in shown),
            next_cursor=f"{shown[-1].created_at_us}.{shown[-1].payment_id}" if more else None,
        )

    def _in_the_way(self, connection: Connection, draft: Draft, window_s: int) -> Row[Any] | None:
        if draft.client_key is not None:
            return connection.execute(_with_key(draft.client_key)).one_or_none()
        alike = self._alike(
            (draft.creditor, draft.debtor), (draft.amount, draft.currency), window_s
        )
        return connection.execute(alike).one_or_none()

    def _unseen(self, connection: Connection, draft: Draft, window_s: int) -> Row[Any] | None:
        """The newest payment like this one, unless its person has seen it or a newer one."""
        if draft.beside is None:
            return None
        alike = self._alike(
            (draft.creditor, draft.debtor), (draft.amount, draft.currency), window_s
        )
        newest_first = alike.order_by(None).order_by(_payments.created_at_us.desc())
        newest = connection.execute(newest_first).one_or_none()
        if newest is None or newest.payment_id == draft.beside:
            return None
        if draft.beside == NONE_SEEN:
            return newest
        named = select(_payments.created_at_us).where(_payments.payment_id == draft.beside)
        seen_us = connection.scalar(named)
        return newest if seen_us is None or seen_us <= newest.created_at_us else None

    def _alike(
        self, names: tuple[str, str], money: tuple[str, str], window_s: int
    ) -> Select[tuple[Any, ...]]:
        young = _payments.created_at_us > self._now() - window_s * _SECOND_US
        return (
            select(tables.payments)
            .where(
                _payments.creditor == names[0],
                _payments.debtor == names[1],
                _payments.amount == money[0],
                _payments.currency == money[1],
                _payments.sandbox == self._bank.sandbox,
                # One that may be booked stands in the way however old it is.
                or_(
                    _payments.state.in_(["sent", "unknown"]),
                    and_(_payments.state != "rejected", young),
                ),
            )
            # One that the bank may have tells more than one that it certainly has not.
            .order_by(_payments.state == "recorded", _payments.created_at_us.desc())
            .limit(1)
        )

    def _now(self) -> int:
        """The time; that the clock was set back is noticed, and counted, from now on."""
        now = self._clock()
        with self._time:
            back_us = self._latest_us - now
            if back_us > _CLOCK_TOLERANCE_US:
                _log.warning("The clock was set back by %d s.", back_us // _SECOND_US)
                self._set_back_us += back_us
            if back_us < 0 or back_us > _CLOCK_TOLERANCE_US:
                self._latest_us = now
        return now

    def _key_age_us(self, row: Row[Any], now: int) -> int | None:
        if row.first_sent_at_us is None:
            return 0
        if now < max(row.first_sent_at_us, row.updated_at_us) - _CLOCK_TOLERANCE_US:
            return None
        age_us: int = now - row.first_sent_at_us
        return age_us + self._set_back_us

    def _elsewhere(self, row: Row[Any]) -> bool:
        if row.sandbox != self._bank.sandbox:
            return True
        known = row.bank_fingerprint or self._bank.fingerprint
        return bool(row.first_sent_at_us is not None and known != self._bank.fingerprint)

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
            bank_answer=rows.kept(answer.answer),
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
        return self._bare_entry(row, self._now(), tuple(rows.event(event) for event in events))

    def _bare_entry(self, row: Row[Any], now: int, history: tuple[PaymentEvent, ...] = ()) -> Entry:
        return Entry(
            payment=rows.record(row, history),
            digest=row.request_digest,
            client_key=row.client_key,
            due_at_us=row.due_at_us,
            attempt=row.attempt,
            elsewhere=self._elsewhere(row),
            key_age_us=self._key_age_us(row, now),
        )


def _state_of(status: str) -> State:
    if status in _REFUSED:
        return "rejected"
    return "accepted" if status in _TAKEN else "unknown"


def _without_booking(answer: Refused | NotSent | InDoubt, *, in_doubt: bool) -> tuple[State, str]:
    """The state after an answer that is not `Taken`: doubt, once there, is not argued away."""
    if isinstance(answer, InDoubt):
        if answer.by_hand:
            return "unknown", answer.reason
        return "unknown", f"no clear answer from the bank: {answer.reason}"
    said = "refused" if isinstance(answer, Refused) else "not sent"
    if in_doubt:
        return "unknown", f"{said}, but an earlier call may have booked it: {answer.reason}"
    return ("rejected" if isinstance(answer, Refused) else "recorded"), f"{said}: {answer.reason}"


def _told(answer: Refused | NotSent | InDoubt) -> dict[str, str]:
    if isinstance(answer, Refused) and answer.answer is not None:
        return {"bank_answer": rows.kept(answer.answer)}
    return {}


def _free(row: Row[Any], now: int) -> bool:
    """Whether the payment is open and nobody is sending it."""
    if row.state != "sent":
        return row.state in {"recorded", "unknown"}
    return not now < row.due_at_us <= now + _FARTHEST_US


def _given(row: Row[Any]) -> bool:
    """Whether a person has been given the payment: from then on nobody else sends it."""
    return bool(row.state == "unknown" and row.due_at_us is None)


def _give_up(connection: Connection, row: Row[Any], now: int, detail: str, request_id: str) -> None:
    """The payment becomes, or stays, unknown and no more questions are due."""
    _change(connection, row, now, "unknown", detail, request_id, in_doubt=True, due_at_us=None)


def _refuse_used(connection: Connection, approval: Approval) -> None:
    events = tables.payment_events.c
    used = connection.execute(
        select(events.payment_id).where(events.override_decision_id == approval.decision_id)
    ).scalar_one_or_none()
    if used is not None:
        raise OverrideInvalidError(approval.decision_id, f"has let payment {used} through")


def _refuse_taken(connection: Connection, payment_id: str, reference: str) -> None:
    """One booking cannot stand for two payments: then one of them would be lost."""
    other = connection.execute(
        select(_payments.payment_id)
        .where(_payments.bank_reference == reference, _payments.payment_id != payment_id)
        .limit(1)
    ).scalar_one_or_none()
    if other is not None:
        raise SettlementInvalidError(
            f"The reference {reference!r} is that of payment {other}; look again at the bank's "
            "statement."
        )


def _with_key(client_key: str) -> Select[tuple[Any, ...]]:
    return select(tables.payments).where(_payments.client_key == client_key)


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
    if state not in NEXT[cast(State, row.state)] and state != row.state:
        raise AssertionError(f"{row.state} cannot become {state}")
    result = connection.execute(
        update(tables.payments)
        .where(
            _payments.payment_id == row.payment_id,
            _payments.state == row.state,
            _payments.attempt == row.attempt,
        )
        # Never backwards: a later time that was once seen tells that the clock was set back.
        .values(state=state, updated_at_us=max(now, row.updated_at_us), **values)
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
    override_decision_id: str | None = None,
) -> None:
    connection.execute(
        insert(tables.payment_events).values(
            payment_id=payment_id,
            at_us=now,
            state=state,
            detail=detail,
            request_id=request_id,
            bank_reference=bank_reference,
            override_decision_id=override_decision_id,
        )
    )


def _row(connection: Connection, payment_id: str, *, lock: bool = True) -> Row[Any]:
    if not _ID.fullmatch(payment_id):  # PostgreSQL takes no NUL, not even to look for one.
        raise PaymentNotFoundError(payment_id)
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


def _position(cursor: str) -> tuple[int, str]:
    created_at_us, _, payment_id = cursor.partition(".")
    if not (created_at_us.isdecimal() and len(created_at_us) < 19 and _ID.fullmatch(payment_id)):
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
        # The driver's own words may quote rows and addresses: they are for the log's reader alone.
        _log.error(
            "The ledger cannot be used: %s", type(getattr(error, "orig", None) or error).__name__
        )
        raise DatabaseUnavailableError(
            "The ledger cannot be used now, and this request recorded nothing more. Repeat the "
            "same request, and look at the payment before you pay anew."
        ) from error
