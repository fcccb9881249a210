"""What can keep a payment from being made: one class for each thing the caller can do about it.

PaydeskError
  PaymentInvalidError            mend the field, send again
  IdempotencyKeyInvalidError     send a key of 1 to 255 printable characters
  IdempotencyKeyReusedError      this key belongs to another payment: use a new one
  PaymentInProgressError         wait, then repeat with the same key
  DuplicatePaymentError          look at the earlier payment; a key of your own means it
  PaymentRejectedError           final: nothing moved, and this payment will never move
  OverrideInvalidError           send the payment without override, take the answer's decision_id
  PaymentUnknownError            may have moved: look, or repeat with the same key; never a new one
  PaymentNotFoundError           no such payment here
  PaymentSettledError            nothing there to settle by hand
  SettlementInvalidError         give the bank's reference, or a reason, as it can be kept
  CursorInvalidError             start again from the first page
  BankUnavailableError           nothing moved: wait, then repeat
  BankNotConfiguredError         whoever runs Paydesk sets what is named
"""

from collections.abc import Sequence

from paydesk.errors import PaydeskError
from paydesk.payments.payment import PaymentRecord


class PaymentInvalidError(PaydeskError):
    """A field of the payment cannot go to the bank as it is; `field` names it."""

    def __init__(self, field: str, reason: str) -> None:
        self.field = field
        self.reason = reason
        super().__init__(f"{field}: {reason}")


class IdempotencyKeyInvalidError(PaydeskError):
    """The Idempotency-Key is empty, too long, or has characters that a header cannot carry."""

    def __init__(self, length: int) -> None:
        super().__init__(
            f"The Idempotency-Key has {length} characters or some that are not printable ASCII; "
            "1 to 255 printable ASCII characters are allowed. A UUID is a good key."
        )


class IdempotencyKeyReusedError(PaydeskError):
    """The Idempotency-Key came before with another payment; `payment` is that earlier one."""

    def __init__(self, payment: PaymentRecord) -> None:
        self.payment = payment
        super().__init__(
            f"This Idempotency-Key was used for payment {payment.payment_id}, whose content "
            "differs. Repeat that payment unchanged, or send a new key for a new payment."
        )


class PaymentInProgressError(PaydeskError):
    """The same payment is with the bank at this moment; repeat after `retry_after_s` seconds."""

    def __init__(self, payment: PaymentRecord, retry_after_s: int) -> None:
        self.payment = payment
        self.retry_after_s = retry_after_s
        super().__init__(
            f"Payment {payment.payment_id} is being sent to the bank. Ask for it, or repeat with "
            f"the same Idempotency-Key, in {retry_after_s} s."
        )


class DuplicatePaymentError(PaydeskError):
    """The same payee, payer, amount and currency came within the window, and no key tells apart."""

    def __init__(self, payment: PaymentRecord, window_s: int) -> None:
        self.payment = payment
        super().__init__(
            f"{payment.amount} {payment.currency} from {payment.debtor} to {payment.creditor} "
            f"is already payment {payment.payment_id} ({payment.state}, "
            f"{payment.created_at:%Y-%m-%d %H:%M} UTC), within {window_s} s. If it is meant to be "
            "paid once more, send an Idempotency-Key of your own."
        )


class PaymentAlikeError(PaydeskError):
    """A payment of the same payee, payer, amount and currency that no person has seen yet."""

    def __init__(self, alike: PaymentRecord) -> None:
        self.alike = alike
        super().__init__(
            f"Nothing was sent: {alike.amount} {alike.currency} from {alike.debtor} to "
            f"{alike.creditor} is payment {alike.payment_id} ({alike.state}, "
            f"{alike.created_at:%Y-%m-%d %H:%M} UTC) by now. If this is another one, send it again "
            f'with "beside": "{alike.payment_id}".'
        )


class PaymentRejectedError(PaydeskError):
    """Nothing moved and this payment never will; `replayed` says that this was told before."""

    def __init__(self, payment: PaymentRecord, reason: str, *, replayed: bool) -> None:
        self.payment = payment
        self.replayed = replayed
        super().__init__(
            f"Payment {payment.payment_id} was rejected, no money moved ({reason}). "
            "Mend what is named, then pay again with a new Idempotency-Key."
        )


class OverrideInvalidError(PaydeskError):
    """The override does not name a fresh, unused decision that held this very payment."""

    def __init__(self, decision_id: str, reason: str) -> None:
        super().__init__(
            f"override.decision_id: {decision_id!r} {reason}. Send the payment without override, "
            "and take the decision_id of the answer that holds it."
        )


class PaymentUnknownError(PaydeskError):
    """The bank may or may not have booked it; `retry_after_s` seconds on, more may be known.

    `reason` is the last word of its history, unless that could not be written.
    """

    def __init__(
        self, payment: PaymentRecord, retry_after_s: int, reason: str | None = None
    ) -> None:
        self.payment = payment
        self.retry_after_s = retry_after_s
        super().__init__(
            f"Payment {payment.payment_id} may or may not have been booked "
            f"({reason or payment.history[-1].detail}). Do not pay it anew: look at payment "
            f"{payment.payment_id} in {retry_after_s} s, or repeat with the same Idempotency-Key."
        )


class PaymentNotFoundError(PaydeskError):
    """No payment with this id was ever recorded here."""

    def __init__(self, payment_id: str) -> None:
        super().__init__(
            f"There is no payment {payment_id[:64]!r}. The list of payments names those there are."
        )


class PaymentSettledError(PaydeskError):
    """Only a payment whose outcome is unknown can be settled by hand."""

    def __init__(self, payment: PaymentRecord) -> None:
        self.payment = payment
        super().__init__(
            f"Payment {payment.payment_id} is {payment.state} ({payment.history[-1].detail}); only "
            "one whose outcome is unknown can be settled by hand."
        )


class SettlementInvalidError(PaydeskError):
    """The reference or the reason of a settlement by hand cannot be kept as it is."""


class CursorInvalidError(PaydeskError):
    """The cursor was not given out by this list of payments, or the limit is out of range."""


class BankUnavailableError(PaydeskError):
    """The bank cannot be reached; nothing moved. Repeat after `retry_after_s` seconds.

    `payment` is the payment as recorded, or None where it was refused before that.
    """

    def __init__(self, reason: str, retry_after_s: int, payment: PaymentRecord | None) -> None:
        self.payment = payment
        self.retry_after_s = retry_after_s
        super().__init__(
            f"The bank cannot take the payment now: {reason}. No money moved. Repeat the same "
            f"request in {retry_after_s} s."
        )


class BankNotConfiguredError(PaydeskError):
    """No bank is configured; `missing` are the environment variables that would."""

    def __init__(self, missing: Sequence[str]) -> None:
        self.missing = tuple(missing)
        super().__init__(
            f"Payments are off: {len(self.missing)} settings are missing or unfit "
            f"({', '.join(self.missing)}). Set them, or run the sandbox bank."
        )
