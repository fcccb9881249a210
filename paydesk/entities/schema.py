"""What is read from a payment e-mail, and the conventions by which every label is decided.

- ACCOUNT_A is the final beneficiary, ACCOUNT_B the party whose money it is: both as written, with
  legal suffix, without honorific ("M/s", "Mr"), description or possessive "'s".
- The payer is absent unless named. "Our operating account", the signer, "you" and a bank's name are
  no payers; the bill-to party of an invoice, "by order of", "on behalf of", "chargeable to" are.
- The amount is the one to be paid now by the latest instruction: the corrected one, the share and
  not the total, the total of an invoice and not its lines. It is absent while not yet known.
- The currency is absent when nothing in the text shows it; a bare "$" is USD unless the text says
  otherwise.
- A mail that tells of an executed payment, a receipt, a statement, an offer or a warning asks for
  none: all four are absent.
- A refund or reimbursement is a payment to the one who gets it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic import Field as Member

Label = Literal["AMOUNT", "CURRENCY", "ACCOUNT_A", "ACCOUNT_B"]
Field = Literal["amount", "currency", "accountA", "accountB"]
LABELS: tuple[Label, ...] = ("AMOUNT", "CURRENCY", "ACCOUNT_A", "ACCOUNT_B")


class Entity(BaseModel):
    """A span of the text that a field was read from: `text == email[start:end]`."""

    model_config = ConfigDict(frozen=True)

    label: Label
    text: str
    start: int = Member(description="First character, counted from 0.")
    end: int = Member(description="One past the last character.")
    confidence: float = Member(ge=0, le=1)


class Alternative(BaseModel):
    """Another value that a field might have had."""

    model_config = ConfigDict(frozen=True)

    field: Field
    value: str
    confidence: float = Member(ge=0, le=1)


class Confidence(BaseModel):
    """How sure each field is, an absent one too: of the answers at 0.9, nine in ten are right."""

    model_config = ConfigDict(frozen=True)

    amount: float = Member(ge=0, le=1)
    currency: float = Member(ge=0, le=1)
    accountA: float = Member(ge=0, le=1)  # noqa: N815 (the form's own name)
    accountB: float = Member(ge=0, le=1)  # noqa: N815


class Reading(BaseModel):
    """The form's four fields as read from one e-mail; what the mail does not show is null."""

    model_config = ConfigDict(frozen=True)

    amount: str | None = Member(description="Plain decimal text, never a binary float.")
    currency: str | None = Member(description="ISO 4217.")
    accountA: str | None = Member(description="The creditor: who is paid.")  # noqa: N815
    accountB: str | None = Member(description="The debtor: whose money it is.")  # noqa: N815
    entities: list[Entity]
    confidence: Confidence
    alternatives: list[Alternative] = []
    notes: list[str] = Member(default=[], description="What is ambiguous, in words.")
