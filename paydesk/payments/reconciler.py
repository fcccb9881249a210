"""Ends what was left open: asks the bank about payments whose outcome nobody has written down."""

import logging
import uuid
from collections.abc import Callable

from paydesk.payments.answers import InDoubt, Initiated, NotKnown, Taken
from paydesk.payments.bank import BankClient
from paydesk.payments.ledger import Claim, Entry, Ledger
from paydesk.storage.database import now_us

# The bank forgets a key after 24 hours; sent again after that, it would be a new payment. The hour
# is for clocks that differ and calls that take long.
KEY_LIFE_S = 23 * 3_600
UNSENT_LIFE_S = 3_600
STATUS_LIFE_S = 7 * 86_400  # How long a bank is asked for the last word on what it has taken.

_BATCH = 100
_SECOND_US = 1_000_000

_log = logging.getLogger(__name__)


class Reconciler:
    """Goes through the open payments once per `run`; safe beside live requests and other workers.

    A payment that is sent or unknown is claimed first, like any other sender does, so that a call
    in flight is left alone until its lease is over. Then the bank is asked for the status, where
    its reference is known, or gets the same instruction under the same key again.
    """

    def __init__(
        self,
        ledger: Ledger,
        bank: BankClient,
        lease_s: float,
        *,
        sandbox: bool,
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._ledger = ledger
        self._bank = bank
        self._lease_s = lease_s
        self._sandbox = sandbox
        self._clock = clock

    def run(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Asks about every payment that is due; how many changed their state or bank status.

        Stops early when `stopping()` says so, or when the bank is dead.
        """
        changed = 0
        while True:
            due = self._ledger.due(_BATCH, UNSENT_LIFE_S, sandbox=self._sandbox)
            before = changed
            for entry in due:
                if stopping() or self._bank.dead_for_s:
                    return changed
                changed += self._one(entry)
            if len(due) < _BATCH or changed == before:
                return changed

    def _one(self, entry: Entry) -> bool:
        """Whether the payment's state or bank status changed."""
        request_id = f"reconcile-{uuid.uuid4()}"
        steps = {"accepted": self._follow, "recorded": self._abandon}
        after = steps.get(entry.payment.state, self._end)(entry, request_id)
        if after is None or _told(after) == _told(entry):
            return False
        _log.info("Payment %s is now %s, %s.", entry.payment.payment_id, *_told(after))
        return True

    def _end(self, entry: Entry, request_id: str) -> Entry | None:
        """A sent or unknown payment, after the bank was asked; None: it is in another's hands."""
        payment_id = entry.payment.payment_id
        claim = self._ledger.claim(payment_id, request_id, self._lease_s, "the reconciler")
        if claim is None:
            return None
        answer = ask(self._bank, claim, request_id, self._clock)
        after = self._ledger.settle(claim, answer, request_id, self._ask_in_s(entry))
        if _key_is_old(claim, self._clock) and after.payment.bank_reference is None:
            self._ledger.postpone(
                payment_id,
                "the bank has forgotten the key by now: ask the bank by the end-to-end "
                f"identification {payment_id.replace('-', '')}, then settle it by hand",
                request_id,
            )
        return after

    def _abandon(self, entry: Entry, request_id: str) -> Entry:
        payment_id = entry.payment.payment_id
        self._ledger.abandon(
            payment_id, f"never sent: nobody asked for it within {UNSENT_LIFE_S} s", request_id
        )
        return self._ledger.entry(payment_id)

    def _follow(self, entry: Entry, request_id: str) -> Entry | None:
        """The present status of an accepted payment: banks say "pending" first, and then more."""
        payment = entry.payment
        ask_in_s = self._ask_in_s(entry)
        last = self._age_s(entry) > STATUS_LIFE_S
        if not self._ledger.watch(payment.payment_id, entry.due_at_us, None if last else ask_in_s):
            return None
        if payment.bank_reference is None:
            return None
        asked = self._bank.status(payment.bank_reference, request_id)
        if isinstance(asked, Taken):
            return self._ledger.follow(payment.payment_id, asked, request_id, ask_in_s)
        if isinstance(asked, NotKnown):
            _log.error("The bank does not know payment %s, which it took.", payment.payment_id)
        return None

    def _ask_in_s(self, entry: Entry) -> float:
        """Half of the payment's age, so that young ones are asked about often and old ones less."""
        shortest, longest = (30.0, 3_600.0) if entry.payment.state == "accepted" else (5.0, 600.0)
        return min(max(self._age_s(entry) / 2, shortest), longest)

    def _age_s(self, entry: Entry) -> float:
        return self._clock() / _SECOND_US - entry.payment.created_at.timestamp()


def _told(entry: Entry) -> tuple[str, str | None]:
    return entry.payment.state, entry.payment.bank_status


def ask(
    bank: BankClient, claim: Claim, request_id: str, clock: Callable[[], int] = now_us
) -> Initiated:
    """The bank's answer to a claimed payment, sent at most once however often this is called.

    Its status, where the bank has given it a reference; else the instruction as recorded, under
    its one key, as long as the bank remembers that.
    """
    if claim.bank_reference is not None:
        asked = bank.status(claim.bank_reference, request_id)
        if not isinstance(asked, NotKnown):
            return asked
    if _key_is_old(claim, clock):
        return InDoubt("it cannot be sent again: the bank has forgotten its key by now", 1)
    return bank.initiate(claim.instruction, claim.bank_key, request_id)


def _key_is_old(claim: Claim, clock: Callable[[], int]) -> bool:
    return clock() - claim.first_sent_at_us > KEY_LIFE_S * _SECOND_US
