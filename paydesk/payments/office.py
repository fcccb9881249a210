"""The payment office: a confirmed payment in, the bank's word out, moved once or not at all."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from paydesk.payments.answers import InDoubt, NotSent
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
)
from paydesk.payments.instruction import instruction, missing_settings
from paydesk.payments.ledger import Claim, Draft, Entry, Ledger
from paydesk.payments.payment import Payment, PaymentPage, PaymentRecord
from paydesk.payments.reconciler import Reconciler, ask
from paydesk.settings import BankSettings
from paydesk.storage.database import now_us
from paydesk.storage.identifiers import new_id

# From the bank call's deadline to the moment another may take over. A call that lasts even longer
# does no harm: the bank books the key once, and the ledger takes a late answer for what it is.
LEASE_MARGIN_S = 2.0
KEY_LENGTH = 255
_ASK_IN_S = 5
_IN_PROGRESS_S = 2
_CLOSE_S = 5
_FOR_A_PERSON_S = 3_600

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
        self._clock = clock
        self._ledger = Ledger(engine, clock)
        self.missing: list[str] = missing_settings(bank)
        self._bank = client or BankClient(bank)
        self._lease_s = bank.deadline_s + LEASE_MARGIN_S
        self._reconciler = Reconciler(
            self._ledger, self._bank, self._lease_s, sandbox=bank.sandbox, clock=clock
        )
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
        note: Mapping[str, Any] | None = None,
    ) -> PaymentOutcome:
        """Pays `payment`, or tells what has become of it.

        `client_key` is the caller's Idempotency-Key: the same payment under it is never sent as a
        second one. `note` is kept with a new payment: why a held one was let through, by whom.

        Raises BankNotConfiguredError, IdempotencyKeyInvalidError, PaymentInvalidError,
        IdempotencyKeyReusedError, DuplicatePaymentError, PaymentInProgressError,
        PaymentRejectedError, PaymentUnknownError, BankUnavailableError, DatabaseUnavailableError.
        """
        draft = self._draft(payment, client_key, note)
        stored = self._stored(draft)
        if stored is not None and stored.payment.state in {"accepted", "rejected"}:
            return _told(stored, replayed=True)
        dead_for_s = self._bank.dead_for_s
        if dead_for_s and stored is None:
            raise BankUnavailableError("it failed several times in a row", dead_for_s, None)
        entry, new = self._ledger.record(draft, request_id, self._settings.duplicate_window_s)
        if not new:
            self._may_go_on(draft, entry)
        if entry.payment.state == "unknown" and entry.due_at_us is None:
            raise PaymentUnknownError(entry.payment, _FOR_A_PERSON_S)
        claim = self._ledger.claim(entry.payment.payment_id, request_id, self._lease_s)
        if claim is None:
            return self._elsewhere(draft, entry.payment.payment_id)
        return self._send(claim, request_id)

    def stored(self, payment: Payment, client_key: str | None) -> PaymentOutcome | None:
        """What an earlier request with the same key came to, or None when there was none.

        For whoever has more to do before a new payment (to score it, say) and nothing before a
        repeated one. A payment that is still open counts as none: `pay` goes on with it. Raises
        what `pay` raises.
        """
        stored = self._stored(self._draft(payment, client_key, None))
        if stored is None or stored.payment.state not in {"accepted", "rejected"}:
            return None
        return _told(stored, replayed=True)

    def payment(self, payment_id: str) -> PaymentRecord:
        """The payment with its history. Raises PaymentNotFoundError."""
        return self._ledger.entry(payment_id).payment

    def payments(self, cursor: str | None = None, limit: int = 50) -> PaymentPage:
        """A page of payments, newest first. Raises CursorInvalidError."""
        return self._ledger.page(cursor, limit)

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
        is kept in the history. Raises PaymentNotFoundError, PaymentSettledError.
        """
        return self._ledger.settle_by_hand(payment_id, reference, reason, request_id).payment

    def _draft(
        self, payment: Payment, client_key: str | None, note: Mapping[str, Any] | None
    ) -> Draft:
        if self.missing:
            raise BankNotConfiguredError(self.missing)
        if client_key is not None and not _printable(client_key):
            raise IdempotencyKeyInvalidError(len(client_key))
        payment_id = new_id()
        content = instruction(payment, self._settings, payment_id, datetime.now(UTC))
        amount, currency = payment.money(self._settings.default_currency)
        return Draft(
            payment_id=payment_id,
            creditor=payment.creditor,
            debtor=payment.debtor,
            amount=f"{amount:f}",
            currency=currency,
            digest=payment.digest(self._settings.default_currency, sandbox=self._settings.sandbox),
            instruction=content,
            sandbox=self._settings.sandbox,
            client_key=client_key,
            note=note,
        )

    def _stored(self, draft: Draft) -> Entry | None:
        if draft.client_key is None:
            return None
        stored = self._ledger.by_client_key(draft.client_key)
        if stored is not None and stored.digest != draft.digest:
            raise IdempotencyKeyReusedError(stored.payment)
        return stored

    def _may_go_on(self, draft: Draft, earlier: Entry) -> None:
        """Raises unless `draft` is the earlier payment over again and that one is to be sent."""
        if draft.client_key is not None:
            if earlier.digest != draft.digest:
                raise IdempotencyKeyReusedError(earlier.payment)
            return
        never_sent = earlier.payment.state == "recorded" and earlier.client_key is None
        if not (never_sent and earlier.digest == draft.digest):
            raise DuplicatePaymentError(earlier.payment, self._settings.duplicate_window_s)

    def _elsewhere(self, draft: Draft, payment_id: str) -> PaymentOutcome:
        """What to tell when another request has the payment, or has just ended it."""
        entry = self._ledger.entry(payment_id)
        if draft.client_key is None:
            # Two came at once without a key: one of them pays, the other is its duplicate.
            raise DuplicatePaymentError(entry.payment, self._settings.duplicate_window_s)
        return _told(entry, replayed=True)

    def _send(self, claim: Claim, request_id: str) -> PaymentOutcome:
        answer = ask(self._bank, claim, request_id, self._clock)
        entry = self._ledger.settle(claim, answer, request_id, _ASK_IN_S)
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


def _printable(key: str) -> bool:
    return 1 <= len(key) <= KEY_LENGTH and key.isascii() and key.isprintable()
