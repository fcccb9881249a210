"""The payment office: a confirmed payment in, the bank's word out, moved once or not at all."""

import logging
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Engine

from paydesk.payments.answers import InDoubt, NotSent
from paydesk.payments.approval import Approval
from paydesk.payments.bank import BankClient
from paydesk.payments.errors import (
    BankNotConfiguredError,
    BankUnavailableError,
    DuplicatePaymentError,
    IdempotencyKeyInvalidError,
    IdempotencyKeyReusedError,
    PaymentInProgressError,
    PaymentRejectedError,
    PaymentUnknownError,
    SettlementInvalidError,
)
from paydesk.payments.identity import BankIdentity
from paydesk.payments.instruction import instruction, missing_settings
from paydesk.payments.ledger import Claim, Draft, Entry, Ledger
from paydesk.payments.payment import Payment, PaymentPage, PaymentRecord, State
from paydesk.payments.reconciler import Reconciler, ask, for_a_person
from paydesk.payments.request_ids import carried
from paydesk.settings import BankSettings
from paydesk.storage.database import DatabaseUnavailableError, now_us
from paydesk.storage.identifiers import new_id

# From the bank call's deadline to the moment another may take over. A call that lasts even longer
# does no harm: the bank books the key once, and the ledger takes a late answer for what it is.
LEASE_MARGIN_S = 2.0
KEY_LENGTH = 255
_ASK_IN_S = 5
_IN_PROGRESS_S = 2
_CLOSE_S = 5
_FOR_A_PERSON_S = 3_600
_REFERENCE = re.compile("[!-~]{1,140}")
_SHORTEST_REASON, _REASON = 3, 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PaymentOutcome:
    """A payment that the bank has taken; `replayed`: by an earlier request with the same key."""

    payment: PaymentRecord
    replayed: bool


class PaymentOffice:
    """Pays, and answers for what was paid. Its methods block: call them in a thread.

    Several offices, in several processes, may work on one database. `start` begins the
    reconciling; `close` ends it and waits for it. Times are in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        bank: BankSettings,
        *,
        reconcile_every_s: float = 15.0,
        client: BankClient | None = None,
        clock: Callable[[], int] = now_us,
    ) -> None:
        """`client` and `clock` (microseconds since 1970) are for callers that bring their own."""
        self._settings = bank
        self._ledger = Ledger(engine, BankIdentity.of(bank), clock)
        self.missing: list[str] = missing_settings(bank)
        self._bank = client or BankClient(bank)
        self._lease_s = bank.deadline_s + LEASE_MARGIN_S
        self._reconciler = Reconciler(self._ledger, self._bank, self._lease_s, clock=clock)
        self._every_s = reconcile_every_s
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Reconciles now and then every `reconcile_every_s`, in a thread of its own."""
        if self.missing or self._thread is not None:
            return
        self._thread = threading.Thread(target=self._reconciling, name="reconciler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the reconciling, and closes the bank's connections.

        A call that the reconciler is at is waited for, but not for long: cut off, it is taken up
        again like any other.
        """
        self._closing.set()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)
        self._bank.close()

    def pay(
        self,
        payment: Payment,
        client_key: str | None,
        request_id: str,
        *,
        before_new: Callable[[], Approval | None] | None = None,
        remark: str | None = None,
        beside: str | None = None,
    ) -> PaymentOutcome:
        """Pays `payment`, or tells what has become of it.

        `client_key` is the caller's Idempotency-Key: the same payment under it is never sent as a
        second one. A payment that is there already decides the answer, whatever has changed
        around it. Only before a new one is recorded `before_new` is called: it raises where the
        payment must not be made, and returns the word of a person by which it may. `remark` goes
        into the history of a payment that is there and still open. `beside` is what the person
        knows of payments like this one (see Draft): where there is another, a new one is refused.

        Raises BankNotConfiguredError, IdempotencyKeyInvalidError, PaymentInvalidError,
        IdempotencyKeyReusedError, DuplicatePaymentError, PaymentInProgressError,
        PaymentRejectedError, PaymentUnknownError, BankUnavailableError, OverrideInvalidError,
        PaymentAlikeError, DatabaseUnavailableError, and what `before_new` raises.
        """
        request_id = carried(request_id)
        if client_key is not None and not is_key(client_key):
            raise IdempotencyKeyInvalidError(len(client_key))
        earlier = self._earlier(payment, client_key)
        if earlier is None:
            draft = self._draft(payment, client_key)
            if dead_for_s := self._bank.dead_for_s:
                raise BankUnavailableError("it failed several times in a row", dead_for_s, None)
            approval = before_new() if before_new is not None else None
            entry, new = self._ledger.record(
                replace(draft, approval=approval, beside=beside),
                request_id,
                self._settings.duplicate_window_s,
            )
            if new:
                return self._take_up(entry, client_key, request_id, None)
            earlier = entry
        return self._again(payment, client_key, earlier, request_id, remark)

    def alike(self, payment: Payment) -> PaymentRecord | None:
        """The payment that would stand in the way of this one, were it sent without a client key.

        Of the same payee, payer, amount and currency: one that may be booked, or a young one.
        """
        entry = self._earlier(payment, None)
        return None if entry is None else entry.payment

    def payment(self, payment_id: str) -> PaymentRecord:
        """The payment with its history. Raises PaymentNotFoundError."""
        return self._ledger.entry(payment_id).payment

    def payments(
        self, cursor: str | None = None, limit: int = 50, state: State | None = None
    ) -> PaymentPage:
        """A page of payments, newest first; those in `state` alone. Raises CursorInvalidError."""
        return self._ledger.page(cursor, limit, state)

    def reconcile(self) -> int:
        """Asks the bank about every payment that is due; how many changed.

        Raises BankNotConfiguredError, DatabaseUnavailableError.
        """
        if self.missing:
            raise BankNotConfiguredError(self.missing)
        return self._reconciler.run(self._closing.is_set)

    def settle(
        self, payment_id: str, reference: str | None, reason: str, request_id: str
    ) -> PaymentRecord:
        """Ends an unknown payment by what a person learnt from the bank.

        `reference` is the bank's for a booked payment; None says that it is not booked. `reason`
        is kept in the history. The bank is not called, and need not be configured. Raises
        SettlementInvalidError, PaymentNotFoundError, PaymentSettledError.
        """
        if reference is not None and not _REFERENCE.fullmatch(reference):
            raise SettlementInvalidError(
                f"{reference[:40]!r} is not a reference of a bank: 1 to 140 letters, digits and "
                "signs, without blanks. Copy it from the bank's own statement."
            )
        if not (_SHORTEST_REASON <= len(reason.strip()) <= _REASON and reason.isprintable()):
            raise SettlementInvalidError(
                f"The reason has to be one line of {_SHORTEST_REASON} to {_REASON} characters: who "
                "at the bank said what, and when."
            )
        entry = self._ledger.settle_by_hand(payment_id, reference, reason.strip(), request_id)
        return entry.payment

    def after_restore(self, request_id: str) -> int:
        """Gives every payment that was open in a restored backup to a person; how many they are.

        What was recorded or sent then may have gone on since, under a key of which this database
        knows no more. Raises DatabaseUnavailableError.
        """
        return self._ledger.restored(request_id)

    def _earlier(self, payment: Payment, client_key: str | None) -> Entry | None:
        """The payment that this one repeats; the settings need not be fit to find it."""
        try:
            amount, currency = payment.money(self._settings.default_currency)
        except (KeyError, ValueError):
            money = None
        else:
            money = (f"{amount:f}", currency)
        names = (payment.creditor, payment.debtor)
        return self._ledger.in_the_way(client_key, names, money, self._settings.duplicate_window_s)

    def _draft(self, payment: Payment, client_key: str | None) -> Draft:
        if self.missing:
            raise BankNotConfiguredError(self.missing)
        payment_id = new_id()
        content = instruction(payment, self._settings, payment_id, datetime.now(UTC))
        amount, currency = payment.money(self._settings.default_currency)
        return Draft(
            payment_id=payment_id,
            creditor=payment.creditor,
            debtor=payment.debtor,
            amount=f"{amount:f}",
            currency=currency,
            digest=payment.digest(sandbox=self._settings.sandbox),
            instruction=content,
            sandbox=self._settings.sandbox,
            client_key=client_key,
        )

    def _again(
        self,
        payment: Payment,
        client_key: str | None,
        earlier: Entry,
        request_id: str,
        remark: str | None,
    ) -> PaymentOutcome:
        """Tells what has become of an earlier payment, and goes on with it where it is open."""
        self._refuse_another(payment, client_key, earlier)
        state, payment_id = earlier.payment.state, earlier.payment.payment_id
        if state in {"accepted", "rejected"}:
            return _told(earlier, replayed=True)
        if remark is not None:
            self._ledger.remark(payment_id, remark, request_id)
        if state == "recorded":
            if self.missing:
                raise BankNotConfiguredError(self.missing)
            # Nobody ever claimed it, so the bank has no other text of it; and days may have passed.
            fresh = earlier.attempt == 0
            content = self._rewritten(payment, earlier.payment) if fresh else None
            return self._take_up(earlier, client_key, request_id, content)
        if (reason := for_a_person(earlier)) is not None:
            earlier = self._ledger.hand_over(payment_id, reason, request_id)
        given = earlier.payment.state == "unknown" and earlier.due_at_us is None
        if given or self.missing:
            return _told(earlier, replayed=True)
        return self._take_up(earlier, client_key, request_id, None)

    def _refuse_another(self, payment: Payment, client_key: str | None, earlier: Entry) -> None:
        """Raises unless `payment` is the earlier one over again, and meant to be."""
        same = earlier.digest == payment.digest(sandbox=self._settings.sandbox)
        if client_key is not None:
            if not same:
                raise IdempotencyKeyReusedError(earlier.payment)
            return
        never_sent = earlier.payment.state == "recorded" and earlier.client_key is None
        if not (never_sent and same):
            raise DuplicatePaymentError(earlier.payment, self._settings.duplicate_window_s)

    def _rewritten(self, payment: Payment, recorded: PaymentRecord) -> bytes:
        # In the currency of the record: the default may be another one by now.
        same = payment.model_copy(update={"currency": recorded.currency})
        return instruction(same, self._settings, recorded.payment_id, datetime.now(UTC))

    def _take_up(
        self, entry: Entry, client_key: str | None, request_id: str, content: bytes | None
    ) -> PaymentOutcome:
        """Claims an open payment and sends it, or tells who has it."""
        payment_id = entry.payment.payment_id
        try:
            claim = self._ledger.claim(payment_id, request_id, self._lease_s, instruction=content)
        except DatabaseUnavailableError as error:
            # The claim may be on disk all the same: then the reconciler goes on with it.
            raise _unwritten(entry, "the ledger failed before the bank was called") from error
        if claim is None:
            return self._elsewhere(client_key, payment_id)
        return self._send(entry, claim, request_id)

    def _elsewhere(self, client_key: str | None, payment_id: str) -> PaymentOutcome:
        """What to tell when another request has the payment, or has just ended it."""
        entry = self._ledger.entry(payment_id)
        if client_key is None:
            # Two came at once without a key: one of them pays, the other is its duplicate.
            raise DuplicatePaymentError(entry.payment, self._settings.duplicate_window_s)
        return _told(entry, replayed=True)

    def _send(self, before: Entry, claim: Claim, request_id: str) -> PaymentOutcome:
        answer = ask(self._bank, claim, request_id)
        try:
            entry = self._ledger.settle(claim, answer, request_id, _ASK_IN_S)
        except DatabaseUnavailableError as error:
            # Whatever the bank has said: in the ledger the payment is on its way, and goes on.
            reason = "the bank was called, and its answer could not be written down"
            raise _unwritten(before, reason) from error
        unclear = isinstance(answer, NotSent | InDoubt)
        _log.log(
            logging.WARNING if unclear else logging.INFO,
            "Payment %s is %s (request %s)%s",
            claim.payment_id,
            entry.payment.state,
            request_id,
            f": {answer.reason}" if unclear else "",
        )
        if entry.payment.state == "recorded" and isinstance(answer, NotSent):
            raise BankUnavailableError(answer.reason, answer.retry_after_s, entry.payment)
        return _told(entry, replayed=False)

    def _reconciling(self) -> None:
        while not self._closing.is_set():
            try:
                self.reconcile()
            except Exception:  # noqa: BLE001
                # Whatever it is, the next round must come: payments wait for it.
                _log.exception("Reconciling failed; it goes on in %s s.", self._every_s)
            self._closing.wait(self._every_s)


def _told(entry: Entry, *, replayed: bool) -> PaymentOutcome:
    """The outcome that a caller gets for a payment in its present state."""
    payment = entry.payment
    if payment.state == "accepted":
        return PaymentOutcome(payment, replayed)
    if payment.state == "rejected":
        reason = payment.history[-1].detail
        raise PaymentRejectedError(payment, reason, replayed=replayed)
    if payment.state == "unknown":
        raise PaymentUnknownError(payment, _ASK_IN_S if entry.due_at_us else _FOR_A_PERSON_S)
    raise PaymentInProgressError(payment, _IN_PROGRESS_S)


def _unwritten(entry: Entry, reason: str) -> PaymentUnknownError:
    payment = entry.payment.model_copy(update={"state": "unknown"})
    return PaymentUnknownError(payment, _ASK_IN_S, reason)


def is_key(key: str) -> bool:
    """Whether this can be an Idempotency-Key."""
    return 1 <= len(key) <= KEY_LENGTH and key.isascii() and key.isprintable()
