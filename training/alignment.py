"""Lays the spans of annotated mail over its tokens: the tags that the span tagger learns."""

from collections.abc import Sequence

from paydesk.entities.currencies import is_currency_mark
from paydesk.entities.tokens import Token
from training.markup import Mail

# What the span tagger tells apart; roles are decided later, so the tags of all roles fall together.
_KIND = {
    "to_org": "ORG",
    "from_org": "ORG",
    "org": "ORG",
    "to_per": "PER",
    "from_per": "PER",
    "per": "PER",
    "amt": "SUM",
    "cur": "CUR",
    "date": "DATE",
    "ref": "REF",
}


def tag(mail: Mail, tokens: Sequence[Token]) -> list[str]:
    """One BIO tag a token; a span that cuts a token takes all of it."""
    tags = ["O"] * len(tokens)
    for span in mail.spans:
        inside = [i for i, t in enumerate(tokens) if t.start < span.end and t.end > span.start]
        if span.tag == "money":
            _tag_money(tokens, inside, tags)
        else:
            _write(tags, inside, _KIND[span.tag])
    return tags


def _tag_money(tokens: Sequence[Token], inside: list[int], tags: list[str]) -> None:
    # A distracting sum is marked with its currency inside: taken apart as the sum to be paid is.
    marks = [i for i in inside if is_currency_mark(tokens[i].text.lower())]
    digits = [i for i in inside if i not in marks and tokens[i].text[0] not in "-+(~"]
    for run in (*_runs(marks), *_runs(digits)):
        _write(tags, run, "CUR" if run[0] in marks else "SUM")


def _runs(places: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for place in places:
        if runs and runs[-1][-1] == place - 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs


def _write(tags: list[str], places: list[int], kind: str) -> None:
    for position, place in enumerate(places):
        tags[place] = f"{'I' if position else 'B'}-{kind}"
