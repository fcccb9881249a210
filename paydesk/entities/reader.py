"""Reads the form's four fields from an e-mail's text, with a model in its serving form."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paydesk.entities.calibration import Calibration
from paydesk.entities.candidates import passage
from paydesk.entities.case import Case, Option, lay_out
from paydesk.entities.currencies import Currency, currency
from paydesk.entities.features import VERSION, token_features
from paydesk.entities.roles import Decision, Roles, Vector
from paydesk.entities.schema import Alternative, Confidence, Entity, Field, Label, Reading
from paydesk.entities.tagger import Tagger
from paydesk.entities.tokens import tokenize
from paydesk.serving_form import ServingFormError

TAGGER = "tagger.crfsuite"
ROLES = "roles.json"
MODEL = "model.json"
EXAMPLES = "examples.json"

LONGEST = 50_000  # characters: some 20 pages; a mail that is longer carries its history
_LIKELY = 0.05  # an alternative less probable than this is not worth a person's look
_MOST_ALTERNATIVES = 3


class Reader:
    """A loaded model. It may be shared between threads."""

    def __init__(self, tagger: Tagger, roles: Roles, calibration: Calibration) -> None:
        self._tagger = tagger
        self._roles = roles
        self._calibration = calibration

    @classmethod
    def load(cls, folder: Path) -> "Reader":
        """The reader of the serving form in `folder`.

        Raises ServingFormError when a file is missing, or was made for other features than these.
        """
        model = _json(folder / MODEL)
        if model.get("kind") != "entities":
            message = f"{folder / MODEL} is of kind {model.get('kind')!r}, not 'entities'."
            raise ServingFormError(message)
        if model.get("features") != VERSION:
            message = (
                f"{folder / MODEL} was trained on features of version {model.get('features')!r}, "
                f"and this Paydesk makes {VERSION!r}: train again, or run the Paydesk it is from."
            )
            raise ServingFormError(message)
        calibration = Calibration(model.get("calibration", {}))
        return cls(Tagger(folder / TAGGER), Roles.load(folder / ROLES), calibration)

    def tags(self, text: str) -> list[str]:
        """The tag of every token of `text`."""
        return self._tagger.tags(token_features(text, tokenize(text)))

    def read(self, text: str) -> Reading:
        """What `text` asks to be paid; what comes after LONGEST characters is not read."""
        read = text[:LONGEST]
        tokens = tokenize(read)
        spans, near = self._tagger.read(token_features(read, tokens))
        case = lay_out(read, tokens, spans, near)
        found = reading(case, self._roles.decide(case), self._roles.threshold, self._calibration)
        if len(text) > LONGEST:
            note = f"Only the first {LONGEST:,} of {len(text):,} characters were read."
            return found.model_copy(update={"notes": [*found.notes, note]})
        return found


def verify(folder: Path) -> None:
    """Raises ServingFormError unless the model in `folder` answers its stored examples as it did
    when it was trained: the tags as its native form gave them, and the form's fields.
    """
    reader = Reader.load(folder)
    for number, example in enumerate(_json(folder / EXAMPLES)["examples"], 1):
        form = reader.read(example["text"]).model_dump(include=set(example["fields"]))
        if reader.tags(example["text"]) != example["tags"] or form != example["fields"]:
            message = (
                f"{folder / EXAMPLES}, example {number}: the serving form does not answer as its "
                f"native model did; pull it again, or train again."
            )
            raise ServingFormError(message)


def reading(case: Case, decision: Decision, threshold: float, calibration: Calibration) -> Reading:
    """The form that a decision means, with entities, confidences, alternatives and notes."""
    payee = _chosen(case.parties, decision.payee)
    payer = _chosen(case.parties, decision.payer)
    amount = _chosen(case.sums, decision.amount)
    mark, money = None, None
    if decision.asks >= threshold:
        mark, money = _currency(case, amount)
    values: dict[Field, str | None] = {
        "amount": amount.value if amount else None,
        "currency": money.code if money else None,
        "accountA": payee.value if payee else None,
        "accountB": payer.value if payer else None,
    }
    shares: dict[Field, Mapping[str | None, float]] = {
        "accountA": _by_value(case.parties, decision.payees),
        "accountB": _by_value(case.parties, decision.payers),
        "amount": _by_value(case.sums, decision.amounts),
    }
    sure = {
        field: calibration.of(
            field, _share(shares.get(field, shares["amount"]), values, field, decision.asks)
        )
        for field in values
    }
    places: dict[Label, tuple[int, int] | None] = {
        "AMOUNT": _words(case, amount),
        "CURRENCY": mark,
        "ACCOUNT_A": _words(case, payee),
        "ACCOUNT_B": _words(case, payer),
    }
    by_label = dict(zip(places, sure.values(), strict=True))
    return Reading(
        **values,
        entities=sorted(
            (
                _entity(case, label, place, by_label[label])
                for label, place in places.items()
                if place is not None
            ),
            key=lambda entity: entity.start,
        ),
        confidence=Confidence(**sure),
        alternatives=_alternatives(shares, values, decision.asks),
        notes=_notes(case, decision, threshold, money, amount),
    )


def _chosen(options: Sequence[Option], index: int) -> Option | None:
    return options[index] if index >= 0 else None


def _currency(case: Case, amount: Option | None) -> tuple[tuple[int, int] | None, Currency | None]:
    """The mark that the sum's currency is read from: its own, else one that stands alone, else that
    of another sum.
    """
    steps = case.mail.steps
    own = [steps[place].mark for place in amount.places] if amount else []
    alone = [(step.first, step.last) for step in steps if step.kind == "CUR"]
    others = [step.mark for step in steps if step.kind == "SUM"] if amount else []
    for mark in (*own, *alone, *others):
        if mark is not None:
            found = currency(_text(case, mark), case.text)
            if found is not None:
                return mark, found
    return None, None


def _by_value(options: Sequence[Option], shares: Vector) -> dict[str | None, float]:
    found: dict[str | None, float] = {None: float(shares[-1])}
    for option, share in zip(options, shares, strict=False):
        found[option.value] = found.get(option.value, 0.0) + float(share)
    return found


def _share(
    shares: Mapping[str | None, float],
    values: Mapping[Field, str | None],
    field: Field,
    asks: float,
) -> float:
    value = values["amount"] if field == "currency" else values[field]
    share = asks * shares.get(value, 0.0)
    return share if value is not None else 1 - asks + share


def _words(case: Case, option: Option | None) -> tuple[int, int] | None:
    """The mention that says most, as tokens."""
    if option is None:
        return None
    return max(option.tokens, key=lambda words: len(_text(case, words)))


def _text(case: Case, words: tuple[int, int]) -> str:
    return passage(words, case.tokens, case.text)


def _entity(case: Case, label: Label, words: tuple[int, int], sure: float) -> Entity:
    start, end = case.tokens[words[0]].start, case.tokens[words[1]].end
    return Entity(label=label, text=case.text[start:end], start=start, end=end, confidence=sure)


def _alternatives(
    shares: Mapping[Field, Mapping[str | None, float]],
    values: Mapping[Field, str | None],
    asks: float,
) -> list[Alternative]:
    found = []
    for field, by_value in shares.items():
        others = [
            (v, asks * p) for v, p in by_value.items() if v is not None and v != values[field]
        ]
        others = sorted((o for o in others if o[1] >= _LIKELY), key=lambda o: -o[1])
        found += [
            Alternative(field=field, value=value, confidence=round(share, 4))
            for value, share in others[:_MOST_ALTERNATIVES]
        ]
    return found


def _notes(
    case: Case,
    decision: Decision,
    threshold: float,
    money: Currency | None,
    amount: Option | None,
) -> list[str]:
    notes = []
    if decision.asks < threshold and case.sums:
        notes.append("The mail names money but seems to ask for no payment.")
    if money and money.note:
        notes.append(money.note)
    if amount is not None and len(case.sums) > 1:
        best = float(np.max(decision.amounts))
        if best < 0.8:
            notes.append(f"The mail names {len(case.sums)} sums; which one to pay is not clear.")
    return notes


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"{path} cannot be read ({error}); pull the entities model again."
        raise ServingFormError(message) from error
    if not isinstance(content, dict):
        message = f"{path} holds no object; pull the entities model again."
        raise ServingFormError(message)
    return content
