"""The plain reader that others are measured against: thirty templates, one CRF, few features."""

import random
from collections.abc import Sequence
from typing import Any

from faker import Faker
from sklearn_crfsuite import CRF

from paydesk.entities.amounts import amount
from paydesk.entities.currencies import currency
from paydesk.entities.evaluation import Form
from paydesk.entities.features import shape
from paydesk.entities.names import name
from paydesk.entities.tagger import join
from paydesk.entities.tokens import Token, tokenize

# $A is who is paid, $B who pays, $M the sum, $C the currency.
TEMPLATES = (
    "Please pay $C$M to $A from $B.",
    "Please transfer $M $C from $B to $A.",
    "Transfer $C $M to $A. Debit $B.",
    "Could you send $C$M to $A?",
    "Hi, kindly pay $A $M $C.",
    "$B owes $A $M $C.",
    "$B needs to pay $A $C$M by Friday.",
    "Dear team, please wire $M $C to $A on behalf of $B. Regards, $P",
    "Invoice from $A to $B. Total: $M $C.",
    "Amount: $M $C\nPayee: $A\nPayer: $B",
    "Beneficiary: $A\nAmount: $C $M",
    "Hello $P, the invoice of $A over $M $C is due. Please pay it from $B.",
    "Please settle the invoice of $C$M with $A.",
    "Send $M $C to $A, charge $B.",
    "We need to remit $C $M to $A.",
    "Dear $P,\nplease make a payment of $C$M to $A.\nBest regards\n$P",
    "Please refund $A $C$M.",
    "Reimburse $A for $M $C.",
    "Debit $B and credit $A with $C$M.",
    "Pay $A. Amount $M $C. From account of $B.",
    "I would like to transfer $C $M from $B to $A.",
    "Make a payment to $A of $M $C.",
    "Payment request: $B to pay $M $C to $A.",
    "Please process $M $C for $A.",
    "The supplier $A is waiting for $C$M from $B.",
    "Thanks for your mail, $P. See you on Monday.",
    "We have received your payment of $C$M.",
    "Your order has been shipped, $P.",
    "$A was paid $M $C yesterday.",
    "The meeting is moved to Tuesday. Regards, $P",
)
_CURRENCIES = ("$", "€", "£", "USD", "EUR", "GBP", "PLN", "CHF")
_LABEL = {"$A": "ACCOUNT_A", "$B": "ACCOUNT_B", "$M": "AMOUNT", "$C": "CURRENCY"}
_NO_PAYMENT = 25  # templates from here on ask for none


def fit_baseline(mails: int = 3000, seed: int = 20) -> Any:
    """A CRF on mail generated from TEMPLATES."""
    rows, tags = [], []
    for tokens, labels in _generate(mails, seed):
        rows.append(plain_features(tokens))
        tags.append(labels)
    return CRF(algorithm="lbfgs", c1=0.1, c2=0.1, max_iterations=60).fit(rows, tags)


def plain_features(tokens: Sequence[Token]) -> list[dict[str, Any]]:
    """Word, shape and a window of one: what tutorials use."""
    return [
        {
            f"{offset}:{name}": value
            for offset in (-1, 0, 1)
            if 0 <= i + offset < len(tokens)
            for name, value in _plain(tokens[i + offset].text).items()
        }
        for i in range(len(tokens))
    ]


def read_baseline(crf: Any, text: str) -> Form:
    """The form that the first span of each label makes."""
    tokens = tokenize(text)
    written: dict[str, str] = {}
    for first, last, label in join(crf.predict_single(plain_features(tokens)) if tokens else []):
        written.setdefault(label, text[tokens[first].start : tokens[last].end])
    money = currency(written.get("CURRENCY", ""), text)
    return {
        "amount": amount(written.get("AMOUNT", "")),
        "currency": money.code if money else None,
        "accountA": name(written["ACCOUNT_A"]) if "ACCOUNT_A" in written else None,
        "accountB": name(written["ACCOUNT_B"]) if "ACCOUNT_B" in written else None,
    }


def _plain(word: str) -> dict[str, Any]:
    return {"word": word.lower(), "shape": shape(word), "tail": word[-3:], "title": word.istitle()}


def _generate(count: int, seed: int) -> list[tuple[list[Token], list[str]]]:
    chance = random.Random(seed)  # noqa: S311 (no secret)
    faker = Faker(["en_GB", "en_US", "de_DE", "pl_PL"])
    Faker.seed(seed)
    made = []
    for _ in range(count):
        number = chance.randrange(len(TEMPLATES))
        values = {
            "$A": faker.company() if chance.random() < 0.7 else faker.name(),
            "$B": faker.company() if chance.random() < 0.8 else faker.name(),
            "$M": f"{chance.randint(10, 20000):,}" + chance.choice(["", ".00", ".50"]),
            "$C": chance.choice(_CURRENCIES),
            "$P": faker.first_name(),
        }
        text, spans = "", []
        rest = TEMPLATES[number]
        while "$" in rest:
            before, rest = rest.split("$", 1)
            mark, rest = f"${rest[0]}", rest[1:]
            text += before
            if number < _NO_PAYMENT and mark in _LABEL:
                spans.append((len(text), len(text) + len(values[mark]), _LABEL[mark]))
            text += values[mark]
        text += rest
        tokens = tokenize(text)
        made.append((tokens, _tags(tokens, spans)))
    return made


def _tags(tokens: Sequence[Token], spans: Sequence[tuple[int, int, str]]) -> list[str]:
    tags = ["O"] * len(tokens)
    for start, end, label in spans:
        inside = [i for i, t in enumerate(tokens) if t.start < end and t.end > start]
        for i in inside:
            tags[i] = f"{'B' if i == inside[0] else 'I'}-{label}"
    return tags
