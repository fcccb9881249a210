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
        clock: Callable[[], int] = now_us,
    ) -> None:
        self._ledger = ledger
        self._bank = bank
        self._lease_s = lease_s
        self._clock = clock

    def run(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Asks about every payment that is due; how many changed their state or bank status.

        Stops early when `stopping()` says so, or when the bank is dead.
        """
        changed = 0
        while True:
            due = self._ledger.due(_BATCH, UNSENT_LIFE_S)
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
        if (reason := for_a_person(entry)) is not None:
            return self._ledger.hand_over(payment_id, reason, request_id)
        claim = self._ledger.claim(payment_id, request_id, self._lease_s, "the reconciler")
        if claim is None:
            return None
        answer = ask(self._bank, claim, request_id)
        after = self._ledger.settle(claim, answer, request_id, self._ask_in_s(entry))
        if after.payment.state == "unknown" and self._age_s(entry) > STATUS_LIFE_S:
            return self._ledger.hand_over(
                payment_id,
                f"the bank has had no clear word on {after.payment.bank_reference} for "
                f"{STATUS_LIFE_S // 86_400} days: ask the bank, then settle it by hand",
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


def for_a_person(entry: Entry) -> str | None:
    """Why an open payment can be neither asked about nor sent again; None: it can."""
    payment = entry.payment
    if entry.elsewhere:
        return (
            "it was made at another bank than the one configured now: ask that bank by the "
            f"end-to-end identification {_end_to_end(payment.payment_id)}, then settle it by hand"
        )
    if payment.bank_reference is None and _key_is_old(entry.key_age_us):
        return _forgotten(payment.payment_id)
    return None


def ask(bank: BankClient, claim: Claim, request_id: str) -> Initiated:
    """The bank's answer to a claimed payment, sent at most once however often this is called.

    Its status, where the bank has given it a reference; else the instruction as recorded, under
    its one key, as long as the bank remembers that. A reference that the bank has given and no
    longer knows is a person's to look into: the bank took the payment, so it is not sent again.
    """
    if claim.bank_reference is not None:
        asked = bank.status(claim.bank_reference, request_id)
        if not isinstance(asked, NotKnown):
            return asked
        return InDoubt(
            f"the bank does not know {claim.bank_reference}, the reference that it gave: ask the "
            f"bank, also by the end-to-end identification {_end_to_end(claim.payment_id)}, then "
            "settle it by hand",
            1,
            by_hand=True,
        )
    if _key_is_old(claim.key_age_us):
        return InDoubt(_forgotten(claim.payment_id), 1, by_hand=True)
    return bank.initiate(claim.instruction, claim.bank_key, request_id)


def _key_is_old(age_us: int | None) -> bool:
    return age_us is None or age_us > KEY_LIFE_S * _SECOND_US


def _forgotten(payment_id: str) -> str:
    return (
        "the bank may have forgotten the key by now: ask the bank by the end-to-end "
        f"identification {_end_to_end(payment_id)}, then settle it by hand"
    )


def _end_to_end(payment_id: str) -> str:
    return payment_id.replace("-", "")
