"""The ledger under every order of events that Hypothesis can think of: never two bookings.

The bank is the sandbox's own books. A network in between may lose, delay and deliver any call and
any answer; callers may die at any point; the reconciler runs whenever it likes.
"""

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from paydesk.payments.answers import Asked, InDoubt, Initiated, NotKnown, NotSent, Refused, Taken
from paydesk.payments.bank import BankClient
from paydesk.payments.identity import BankIdentity
from paydesk.payments.instruction import instruction
from paydesk.payments.ledger import NEXT, Claim, Draft, Entry, Ledger
from paydesk.payments.payment import Payment
from paydesk.payments.reconciler import KEY_LIFE_S, Reconciler
from paydesk.payments.sandbox import sandbox_settings
from paydesk.payments.sandbox_books import Books
from paydesk.storage import tables
from paydesk.storage.identifiers import new_id

pytest_plugins = ["payments_fixtures"]

_BANK = BankIdentity("f" * 64, sandbox=True)
_LEASE_S = 30.0
_DAY_US = 86_400_000_000
_START_US = 1_800_000_000_000_000
_TODAY = datetime.fromtimestamp(_START_US / 1_000_000, UTC)


def _draft(amount: str = "1.00", client_key: str | None = None) -> Draft:
    payment = Payment.model_validate({"accountA": "Alice", "accountB": "Bob", "amount": amount})
    bank = sandbox_settings("http://localhost")
    payment_id = new_id()
    return Draft(
        payment_id=payment_id,
        creditor=payment.creditor,
        debtor=payment.debtor,
        amount=amount,
        currency="EUR",
        digest=payment.digest(sandbox=True),
        instruction=instruction(payment, bank, payment_id, _TODAY),
        sandbox=True,
        client_key=client_key,
    )


class _Time:
    """Microseconds since 1970, moved by the test alone: the bank's, which is right, and ours."""

    def __init__(self) -> None:
        self.true = _START_US
        self.ahead = 0

    def __call__(self) -> int:
        return self.true + self.ahead

    def seconds(self) -> float:
        return self.true / 1_000_000


class _BooksBank:
    """The books behind the interface of the bank's client, on a network that always works."""

    dead_for_s = 0

    def __init__(self, books: Books) -> None:
        self.books = books

    def initiate(self, content: bytes, key: str, _request_id: str) -> Initiated:
        answer, _ = self.books.book(key, content)
        return Taken(answer["paymentRequestId"], answer["transactionStatus"], answer)

    def asked(self, claim: Claim) -> Initiated:
        assert claim.bank_reference is not None
        asked = self.status(claim.bank_reference, "r")
        assert not isinstance(asked, NotKnown)
        return asked

    def status(self, reference: str, _request_id: str) -> Asked:
        status = self.books.status(reference)
        return NotKnown() if status is None else Taken(reference, status, {})


@dataclass
class Call:
    """One call to the bank on the network: not yet there, or there with its answer."""

    claim: Claim
    first_sent_us: int  # In true time.
    reached: bool = False
    answers: list[Taken] = field(default_factory=list)


class LedgerMachine(RuleBasedStateMachine):
    """Rules are what callers, network, bank and time may do; invariants are what must hold."""

    calls = Bundle("calls")  # Callers that wait for an answer.
    loose = Bundle("loose")  # Calls on the network whose callers have died or given up.

    def __init__(self) -> None:
        super().__init__()
        self.time = _Time()
        self.engine = _memory_database()
        self.ledger = Ledger(self.engine, _BANK, self.time)
        self.books = Books(":memory:", clock=self.time.seconds)
        self.reconciler = Reconciler(
            self.ledger,
            cast(BankClient, _BooksBank(self.books)),
            _LEASE_S,
            clock=self.time,
        )
        self.entries: dict[str, Entry] = {}
        self.on_the_way: list[Call] = []
        self.first_sent_us: dict[str, int] = {}

    @initialize(target=calls)
    def one_payment(self) -> Any:
        return self.begins("1.00", "a")

    @rule(
        target=calls,
        amount=st.sampled_from(["1.00", "2.00"]),
        key=st.sampled_from(["a", None]),
    )
    def begins(self, amount: str, key: str | None) -> Any:
        """A caller comes with a payment: the office's steps up to the call."""
        draft = _draft(amount, key)
        entry, new = self.ledger.record(draft, "r", 86_400)
        self.entries[entry.payment.payment_id] = entry
        if not new and entry.digest != draft.digest:
            return multiple()
        return self._claims(entry.payment.payment_id)

    @rule(target=calls, number=st.integers(0, 3))
    def takes_up(self, number: int) -> Any:
        """Somebody, a worker or the reconciler, tries to take up any payment there is."""
        payment_ids = sorted(self.entries)
        return self._claims(payment_ids[number % len(payment_ids)])

    @rule(target=calls, call=calls, waits_s=st.sampled_from([0, 31]))
    def takes_over(self, call: Call, waits_s: int) -> Any:
        """Another worker tries to take the payment of a call that is still on its way."""
        self.time.true += waits_s * 1_000_000
        return self._claims(call.claim.payment_id)

    def _claims(self, payment_id: str) -> Any:
        claim = self.ledger.claim(payment_id, "r", _LEASE_S)
        if claim is None:
            return multiple()
        if claim.key_age_us == 0 or payment_id not in self.first_sent_us:
            self.first_sent_us[payment_id] = self.time.true
        if claim.bank_reference is not None:
            # As `reconciler.ask` has it: the bank is asked, and nothing is sent.
            self.ledger.settle(claim, _BooksBank(self.books).asked(claim), "r", 5)
            return multiple()
        if claim.key_age_us is None or claim.key_age_us > KEY_LIFE_S * 1_000_000:
            # Nor is anything sent under a key that is old, or may be.
            self.ledger.settle(claim, InDoubt("old", 1, by_hand=True), "r", 5)
            return multiple()
        call = Call(claim, self.first_sent_us[payment_id])
        self.on_the_way.append(call)
        return call

    @rule(call=st.one_of(calls, loose))
    def reaches_the_bank(self, call: Call) -> None:
        self._reaches(call)

    def _reaches(self, call: Call) -> None:
        # A network may hold a call back, but not for as long as the bank remembers the key.
        if call.reached or self.time.true - call.first_sent_us > _DAY_US:
            return
        call.reached = True
        answer, _ = self.books.book(call.claim.bank_key, call.claim.instruction)
        call.answers.append(Taken(answer["paymentRequestId"], "PDNG", answer))

    @rule(call=consumes(calls))
    def is_answered(self, call: Call) -> None:
        """The bank's answer arrives, where there is one; without it the caller gives up."""
        answer: Initiated = call.answers[0] if call.answers else InDoubt("no answer", 1)
        self.ledger.settle(call.claim, answer, "r", 5)

    @rule(target=loose, call=consumes(calls))
    def gives_up(self, call: Call) -> Any:
        self.ledger.settle(call.claim, InDoubt("timeout", 1), "r", 5)
        return call

    @rule(target=loose, call=consumes(calls))
    def dies(self, call: Call) -> Any:
        return call

    @rule(call=consumes(calls), answer=st.sampled_from([Refused("no"), NotSent("no way", 1)]))
    def is_turned_away(self, call: Call, answer: Initiated) -> None:
        """Refused, or never sent: true of a call that has not reached the books and never will."""
        if call.reached:
            self.ledger.settle(call.claim, call.answers[0], "r", 5)
            return
        call.reached = True
        self.ledger.settle(call.claim, answer, "r", 5)

    @rule(seconds=st.sampled_from([1, 31, 3_700, 25 * 3_600]))
    def time_passes(self, seconds: int) -> None:
        self.time.true += seconds * 1_000_000
        self.sees_the_time()

    @rule(seconds=st.sampled_from([60, 400, 3_700, 25 * 3_600]))
    def the_clock_is_set_back(self, seconds: int) -> None:
        """Our clock alone. The reconciler has seen the time just before, as it does every 15 s."""
        self.sees_the_time()
        self.time.ahead -= seconds * 1_000_000

    def sees_the_time(self) -> None:
        self.ledger.due(1, 3_600)

    @rule()
    def reconciles(self) -> None:
        self.reconciler.run()

    @invariant()
    def no_payment_is_booked_twice_and_the_ledger_tells_the_truth(self) -> None:
        bookings = self.books.bookings()
        booked = {booking.end_to_end: booking for booking in bookings}
        assert len(booked) == len(bookings), bookings
        pending = {
            call.claim.payment_id
            for call in self.on_the_way
            if not call.reached and self.time.true - call.first_sent_us <= _DAY_US
        }
        for payment_id in self.entries:
            payment = self.ledger.entry(payment_id).payment
            booking = booked.get(payment_id.replace("-", ""))
            if payment.state in {"rejected", "recorded"}:
                assert booking is None
                assert payment_id not in pending
            if payment.state == "accepted":
                assert booking is not None
                assert payment.bank_reference == booking.reference
            states = [event.state for event in payment.history]
            assert states[0] == "recorded"
            for before, after in pairwise(states):
                assert after in NEXT[before] or before == after == "unknown"

    def teardown(self) -> None:
        """At the end everything still on its way arrives, and the reconciler ends what it may."""
        for call in self.on_the_way:
            self._reaches(call)
        for _ in range(3):
            self.time.true += (
                4_000 * 1_000_000
            )  # Past every lease, also one that a wrong clock set.
            self.reconciler.run()
        self.no_payment_is_booked_twice_and_the_ledger_tells_the_truth()
        for payment_id in self.entries:
            entry = self.ledger.entry(payment_id)
            assert entry.payment.state != "sent"
            # Unknown is left only what may not be sent again, and a person has been told.
            assert entry.payment.state != "unknown" or entry.due_at_us is None
        self.books.close()
        self.engine.dispose()


def _memory_database() -> Engine:
    engine = create_engine(
        "sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False}
    )
    tables.metadata.create_all(engine)
    return engine


TestNoOrderOfEventsBooksTwice = LedgerMachine.TestCase
TestNoOrderOfEventsBooksTwice.settings = settings(
    max_examples=int(os.environ.get("PAYDESK_LEDGER_EXAMPLES", "100")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
