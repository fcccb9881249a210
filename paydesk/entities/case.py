"""Lays a mail out for the decision: the parties and sums named, and the evidence on each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from paydesk.entities.candidates import (
    Candidate,
    is_short_form,
    name_key,
    parties,
    party_name,
    sums,
    units,
)
from paydesk.entities.evidence import (
    Mail,
    mail_evidence,
    name_evidence,
    pair_evidence,
    party_evidence,
    share_evidence,
    sum_evidence,
)
from paydesk.entities.tagger import TokenSpan
from paydesk.entities.tokens import Token

_MOST_NEAR = 10


class Option(NamedTuple):
    """A party or a sum that a field may take; `tokens` are all it covers (first, last)."""

    value: str
    evidence: frozenset[str]
    tokens: tuple[tuple[int, int], ...]
    places: tuple[int, ...]  # its mentions, as units of the mail as tagged


@dataclass(frozen=True)
class Case:
    """A mail with all that could stand in its form."""

    text: str
    tokens: Sequence[Token]
    mail: Mail
    evidence: frozenset[str]
    parties: list[Option]
    sums: list[Option]

    def pair(self, payee: Option | None, payer: Option | None) -> set[str]:
        """The evidence on one option's being paid by the other; None for nobody."""
        return pair_evidence(self.mail, _places(payee), _places(payer))

    def share(self, payee: Option | None, amount: Option | None) -> set[str]:
        """The evidence on a sum's going to the payee; None for none."""
        return share_evidence(self.mail, _places(payee), _places(amount))


def overlap(one: Option, other: Option) -> bool:
    """Whether two options lay claim to the same words."""
    return any(a <= d and c <= b for a, b in one.tokens for c, d in other.tokens)


def lay_out(
    text: str, tokens: Sequence[Token], spans: Sequence[TokenSpan], near: Sequence[TokenSpan]
) -> Case:
    """The case of a mail with the tagger's spans, and the names it nearly found."""
    steps = units(tokens, spans)
    mail = Mail(tokens, steps)
    named = parties(steps, tokens, text)
    amounts = sums(steps, tokens, text)
    options = [
        _option(
            mail,
            mail,
            party,
            party_evidence(mail, party, number, len(named)) | name_evidence(mail, party, False),
        )
        for number, party in enumerate(named)
    ]
    options += _near_options(mail, text, named, near)
    return Case(
        text,
        tokens,
        mail,
        frozenset(mail_evidence(mail)),
        options,
        [_option(mail, mail, c, sum_evidence(mail, c, amounts)) for c in amounts],
    )


def _near_options(
    mail: Mail, text: str, named: Sequence[Candidate], near: Sequence[TokenSpan]
) -> list[Option]:
    known = {party.value for party in named}
    keys = [(party, name_key(party.value)) for party in named]
    found = []
    for span in sorted(near, key=lambda s: -s.probability)[:_MOST_NEAR]:
        view, place = mail.with_name(span)
        written = party_name(view.steps[place], mail.tokens, text)
        if not written or written in known:
            continue
        known.add(written)
        mentions = [place]
        key = name_key(written)
        for party, words in keys:
            if is_short_form(words, key):
                taken = {mail.steps[p] for p in party.mentions}
                mentions += [i for i in view.names if i != place and view.steps[i] in taken]
        candidate = Candidate(written, sorted(mentions))
        number = sum(i < place for i in view.names)
        evidence = party_evidence(view, candidate, number, len(named))
        evidence |= name_evidence(view, candidate, True)
        clash = any(
            s.kind in ("PER", "ORG") and s.first <= span.last and s.last >= span.first
            for s in mail.steps
        )
        evidence.add(f"clash={clash}")
        found.append(_option(mail, view, candidate, evidence))
    return found


def _option(mail: Mail, view: Mail, candidate: Candidate, evidence: set[str]) -> Option:
    steps = [view.steps[place] for place in candidate.mentions]
    if view is mail:
        places = tuple(candidate.mentions)
    else:
        firsts = [step.first for step in steps]
        places = tuple(
            i
            for i, step in enumerate(mail.steps)
            if any(step.first <= first <= step.last for first in firsts)
        )
    return Option(
        candidate.value,
        frozenset(evidence),
        tuple((step.first, step.last) for step in steps),
        places,
    )


def _places(option: Option | None) -> tuple[int, ...]:
    return option.places if option else ()
