"""Reads the form's four fields from an e-mail's text, with a model in its serving form."""

import json
from pathlib import Path
from typing import Any

from paydesk.entities import amounts, currencies, names
from paydesk.entities.features import VERSION, token_features
from paydesk.entities.schema import LABELS, Confidence, Entity, Label, Reading
from paydesk.entities.tagger import Tagger, TokenSpan
from paydesk.entities.tokens import Token, tokenize
from paydesk.serving_form import ServingFormError

TAGGER = "tagger.crfsuite"
MODEL = "model.json"
EXAMPLES = "examples.json"


class Reader:
    """A loaded model. It may be shared between threads."""

    def __init__(self, tagger: Tagger) -> None:
        self._tagger = tagger

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
                f"{folder / MODEL} was trained on features of version {model.get('features')!r}, and "
                f"this Paydesk makes version {VERSION!r}: train again, or run the Paydesk it is from."
            )
            raise ServingFormError(message)
        return cls(Tagger(folder / TAGGER))

    def tags(self, text: str) -> list[str]:
        """The tag of every token of `text`."""
        return self._tagger.tags(token_features(text, tokenize(text)))

    def read(self, text: str) -> Reading:
        """What `text` asks to be paid."""
        tokens = tokenize(text)
        spans = self._tagger.spans(token_features(text, tokens))
        best = {label: _best(label, spans) for label in LABELS}
        found = {label: _entity(label, s, tokens, text) for label, s in best.items() if s}
        written = {label: entity.text for label, entity in found.items()}
        money = currencies.currency(written.get("CURRENCY", ""), text)
        confidence = {label: span.probability if span else 0.5 for label, span in best.items()}
        return Reading(
            amount=amounts.amount(written.get("AMOUNT", "")),
            currency=money.code if money else None,
            accountA=names.name(written["ACCOUNT_A"]) if "ACCOUNT_A" in written else None,
            accountB=names.name(written["ACCOUNT_B"]) if "ACCOUNT_B" in written else None,
            entities=sorted(found.values(), key=lambda entity: entity.start),
            confidence=Confidence(
                amount=confidence["AMOUNT"],
                currency=confidence["CURRENCY"],
                accountA=confidence["ACCOUNT_A"],
                accountB=confidence["ACCOUNT_B"],
            ),
            notes=[money.note] if money and money.note else [],
        )


def verify(folder: Path) -> None:
    """Raises ServingFormError unless the model in `folder` tags its stored examples as its native
    form did when it was trained.
    """
    reader = Reader.load(folder)
    for number, example in enumerate(_json(folder / EXAMPLES)["examples"], 1):
        if reader.tags(example["text"]) != example["tags"]:
            message = (
                f"{folder / EXAMPLES}, example {number}: the serving form does not answer as its "
                f"native model did; pull it again, or train again."
            )
            raise ServingFormError(message)


def _best(label: Label, spans: list[TokenSpan]) -> TokenSpan | None:
    mine = [span for span in spans if span.kind == label]
    return max(mine, key=lambda span: span.probability, default=None)


def _entity(label: Label, span: TokenSpan, tokens: list[Token], text: str) -> Entity:
    start, end = tokens[span.first].start, tokens[span.last].end
    return Entity(
        label=label, text=text[start:end], start=start, end=end, confidence=span.probability
    )


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
