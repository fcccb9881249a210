"""Turns the tagger's spans into what gets a role: parties and sums, with all their mentions."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from paydesk.entities.amounts import amount
from paydesk.entities.currencies import has_thousandths
from paydesk.entities.names import name
from paydesk.entities.tagger import TokenSpan
from paydesk.entities.tokens import Token

# More than any mail that a person wrote has: every pair of parties is weighed.
_MOST_CANDIDATES = 60
_MOST_MENTIONS = 20


@dataclass(frozen=True)
class Unit:
    """A word, or a whole found span, as one step of the mail: tokens `first` to `last`."""

    first: int
    last: int
    kind: str  # "word", "line", "PER", "ORG", "SUM", "CUR", "DATE", "REF"
    probability: float = 1.0
    mark: tuple[int, int] | None = None  # a SUM's currency mark, as tokens


@dataclass
class Candidate:
    """A party, or a sum of money, with the places in `units` where it is mentioned."""

    value: str
    mentions: list[int] = field(default_factory=list)


def units(tokens: Sequence[Token], spans: Sequence[TokenSpan]) -> list[Unit]:
    """The mail as a sequence of units; a sum takes the currency mark that touches it."""
    steps: list[Unit] = []
    at = 0
    for span in spans:
        steps += [plain(tokens, i) for i in range(at, span.first)]
        steps.append(Unit(span.first, span.last, span.kind, span.probability))
        at = span.last + 1
    steps += [plain(tokens, i) for i in range(at, len(tokens))]
    return _join_marks(steps)


def plain(tokens: Sequence[Token], place: int) -> Unit:
    """A token that belongs to no span, as a unit."""
    return Unit(place, place, "line" if tokens[place].text[0] == "\n" else "word")


def _join_marks(steps: list[Unit]) -> list[Unit]:
    joined: list[Unit] = []
    for step in steps:
        before = joined[-1] if joined else None
        if before and before.kind == "CUR" and step.kind == "SUM":
            mark = (before.first, before.last)
            joined[-1] = Unit(step.first, step.last, "SUM", step.probability, mark)
        elif before and before.kind == "SUM" and before.mark is None and step.kind == "CUR":
            mark = (step.first, step.last)
            joined[-1] = Unit(before.first, before.last, "SUM", before.probability, mark)
        else:
            joined.append(step)
    return joined


def surface(unit: Unit, tokens: Sequence[Token], text: str) -> str:
    """The unit as it is written, a sum without its currency mark."""
    return passage((unit.first, unit.last), tokens, text)


def passage(words: tuple[int, int], tokens: Sequence[Token], text: str) -> str:
    """What stands in the mail from the first of `words` to the last, tokens both."""
    return text[tokens[words[0]].start : tokens[words[1]].end]


def party_name(unit: Unit, tokens: Sequence[Token], text: str) -> str:
    """The name of a party as it goes on the form."""
    dotted = text[tokens[unit.last].end :].startswith(".")
    return name(surface(unit, tokens, text), person=unit.kind == "PER", dotted=dotted)


def parties(steps: Sequence[Unit], tokens: Sequence[Token], text: str) -> list[Candidate]:
    """The parties named, in order; short forms fall together with the fullest name."""
    found: list[Candidate] = []
    keys: list[list[str]] = []
    for place, step in enumerate(steps):
        if step.kind not in ("PER", "ORG"):
            continue
        called = party_name(step, tokens, text)
        if not called:
            continue
        key = name_key(called)
        for known, words in zip(found, keys, strict=True):
            if is_short_form(key, words) or is_short_form(words, key):
                _mention(known, place)
                if len(key) > len(words) or (
                    len(key) == len(words) and _dressed(called) >= _dressed(known.value)
                ):
                    known.value = called
                    words[:] = key
                break
        else:
            if len(found) < _MOST_CANDIDATES:
                found.append(Candidate(called, [place]))
                keys.append(key)
    return found


def sums(steps: Sequence[Unit], tokens: Sequence[Token], text: str) -> list[Candidate]:
    """The sums of money, in order; the same value written twice is one."""
    found: dict[str, Candidate] = {}
    for place, step in enumerate(steps):
        if step.kind != "SUM":
            continue
        thousandths = step.mark is not None and has_thousandths(passage(step.mark, tokens, text))
        value = amount(surface(step, tokens, text), thousandths=thousandths)
        if value is None:
            continue
        plain = value.rstrip("0").rstrip(".") if "." in value else value
        if plain in found:
            _mention(found[plain], place)
            found[plain].value = max(found[plain].value, value, key=len)
        elif len(found) < _MOST_CANDIDATES:
            found[plain] = Candidate(value, [place])
    return list(found.values())


def _mention(candidate: Candidate, place: int) -> None:
    if len(candidate.mentions) < _MOST_MENTIONS:
        candidate.mentions.append(place)


def name_key(written: str) -> list[str]:
    """The words by which two mentions are known to name the same party."""
    words = [word.strip(".,'’\"()").lower() for word in written.split()]
    return [word for word in words if word and word not in ("the", "&", "and")] or [written.lower()]


def is_short_form(short: list[str], long: list[str]) -> bool:
    """Whether the words of `short` stand in `long` in their order."""
    rest = iter(long)
    return all(word in rest for word in short)


def _dressed(written: str) -> int:
    # "Waggy Acres" says more than "waggy acres", and either more than "WAGGY ACRES".
    if written.isupper():
        return 1 if len(written) < 6 else 0
    return 2 if any(sign.isupper() for sign in written) else 0
