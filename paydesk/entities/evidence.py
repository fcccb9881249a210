"""Turns units and candidates into the evidence that decides on roles: sets of feature strings."""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache

from paydesk.entities import lexicon
from paydesk.entities.candidates import Candidate, Unit, plain
from paydesk.entities.features import kind, short
from paydesk.entities.patterns import mail_phrases, party_phrases, sum_phrases
from paydesk.entities.tagger import TokenSpan
from paydesk.entities.tokens import Token
from paydesk.entities.zones import split_lines, zones

_SENTENCE = 60  # units on either side of a mention that count as its sentence
_HEAD = 8  # units of a line's head that are looked at
_REACH = 10  # units on either side of a mention that a turn of phrase may span
_PLAIN = {"<P>": "N", "<O>": "N", "<M>": "M", "<D>": "D", "<R>": "R", "<C>": "C"}
_CANDIDATES = frozenset(["<P>", "<O>", "<M>"])
_ENDS = frozenset(".!?;")
_NAMES = ("PER", "ORG")


class Mail:
    """A mail as a sequence of units, with what is asked of it again and again."""

    def __init__(self, tokens: Sequence[Token], steps: Sequence[Unit]) -> None:
        self.tokens = tokens
        self.steps = list(steps)
        self.words = [_symbol(step, tokens) for step in steps]
        lines = split_lines(tokens)
        self.zone_of = ["end"] * len(tokens)
        for (start, end), zone in zip(lines, zones(tokens, lines), strict=True):
            for i in range(start, end):
                self.zone_of[i] = zone
        self.classes = [_cues(word) for word in self.words]
        self._index()

    def with_name(self, span: TokenSpan) -> tuple["Mail", int]:
        """The mail as it would be with `span` a name, and the place of that name in it."""
        first = next(i for i, step in enumerate(self.steps) if step.last >= span.first)
        last = first
        while self.steps[last].last < span.last:
            last += 1
        parts = [
            *_loose(self.tokens, self.steps[first].first, span.first),
            Unit(span.first, span.last, span.kind, span.probability),
            *_loose(self.tokens, span.last + 1, self.steps[last].last + 1),
        ]
        view = Mail.__new__(Mail)
        view.tokens, view.zone_of = self.tokens, self.zone_of
        words = [_symbol(step, self.tokens) for step in parts]
        view.steps = [*self.steps[:first], *parts, *self.steps[last + 1 :]]
        view.words = [*self.words[:first], *words, *self.words[last + 1 :]]
        view.classes = [
            *self.classes[:first],
            *(_cues(word) for word in words),
            *self.classes[last + 1 :],
        ]
        view._index()
        return view, first + span.first - self.steps[first].first

    def _index(self) -> None:
        self._counts: list[tuple[int, int, int]] | None = None
        self.names = [i for i, step in enumerate(self.steps) if step.kind in _NAMES]
        self.sums = [i for i, step in enumerate(self.steps) if step.kind == "SUM"]
        ends = [i for i, step in enumerate(self.steps) if step.kind == "line"]
        self._lines = [0, *(i + 1 for i in ends)]

    def count_between(self, start: int, end: int) -> tuple[int, int, int]:
        """How many line ends, sentence ends, and names or sums there are from `start` to `end`."""
        if self._counts is None:
            lines = ends = others = 0
            self._counts = [(0, 0, 0)]
            for word in self.words:
                lines += word == "¶"
                ends += word in _ENDS
                others += word in _CANDIDATES
                self._counts.append((lines, ends, others))
        (a, b, c), (x, y, z) = self._counts[start], self._counts[end]
        return x - a, y - b, z - c

    def sentence(self, place: int) -> tuple[int, int]:
        """The units of the sentence, at most a line, round `place`: from, to (not included).

        What is farther off is left out, so that a mail of one sentence takes no longer than others.
        """
        start = place
        while start and place - start < _SENTENCE and not self._closes(start - 1):
            start -= 1
        end = place
        while end < len(self.steps) and end - place < _SENTENCE and not self._closes(end):
            end += 1
        return start, min(end + 1, len(self.steps))

    def line_start(self, place: int) -> int:
        """The first unit of the line of `place`."""
        return self._lines[bisect_right(self._lines, place) - 1]

    def _closes(self, place: int) -> bool:
        step = self.steps[place]
        return step.kind == "line" or (step.kind == "word" and self.words[place] in _ENDS)


def party_evidence(mail: Mail, candidate: Candidate, number: int, of: int) -> set[str]:
    """What speaks for and against a party's roles; `number` counts the parties from 0."""
    found = {"bias", f"no={min(number, 4)}", f"of={min(of, 5)}"}
    if number == of - 1:
        found.add("no=last")
    found.add(f"mentions={min(len(candidate.mentions), 4)}")
    kinds = {mail.steps[place].kind for place in candidate.mentions}
    found |= {f"kind={kind}" for kind in kinds}
    written = candidate.value.lower().split()
    found |= {f"has={word}" for word in written if word in _TELLING}
    if any(word.strip(".,") in lexicon.COMPANY_SUFFIXES for word in written[1:]):
        found.add("has-suffix")
    spots = {mail.zone_of[mail.steps[place].first] for place in candidate.mentions}
    found |= {f"zone={zone}" for zone in spots}
    if len(spots) == 1:
        found.add(f"only={next(iter(spots))}|{'+'.join(sorted(kinds))}")
    if mail.words and candidate.mentions[-1] == mail.names[-1]:
        found.add("last-name")
        if mail.steps[candidate.mentions[-1]].last >= len(mail.tokens) - 2:
            found.add("ends-mail")
    if candidate.mentions[0] == 0:
        found.add("begins-mail")
    for place in candidate.mentions:
        found |= _context(mail, place, mail.names)
        found |= _to_money(mail, place)
        zone = mail.zone_of[mail.steps[place].first]
        for name in party_phrases(_around(mail, place)):
            found |= {f"phrase={name}", f"phrase@={name}|{zone}"}
    return found


def sum_evidence(mail: Mail, candidate: Candidate, candidates: Sequence[Candidate]) -> set[str]:
    """What speaks for and against a sum's being the one to pay."""
    number, of = candidates.index(candidate), len(candidates)
    found = {"bias", f"no={min(number, 5)}", f"of={min(of, 6)}", f"no-of={number}/{min(of, 4)}"}
    if number == of - 1:
        found.add("no=last")
    found.add(f"mentions={min(len(candidate.mentions), 4)}")
    found |= _arithmetic(candidate, candidates)
    marked = [mail.steps[place].mark is not None for place in candidate.mentions]
    found.add(f"marked={any(marked)}")
    others = [
        mail.steps[p].mark is not None for c in candidates if c is not candidate for p in c.mentions
    ]
    if others:
        found.add(f"marked={any(marked)}|others={any(others)}")
    found |= {f"zone={mail.zone_of[mail.steps[p].first]}" for p in candidate.mentions}
    for place in candidate.mentions:
        found |= _context(mail, place, mail.sums)
        found |= _to_names(mail, place)
        found |= {f"phrase={name}" for name in sum_phrases(_around(mail, place))}
    return found


def mail_evidence(mail: Mail) -> set[str]:
    """What speaks for and against the mail's asking for a payment at all."""
    found = {"bias"}
    words = [w for w in mail.words if w != "¶"]
    for i, word in enumerate(words):
        found.add(f"w={word}")
        if i:
            found.add(f"ww={words[i - 1]}_{word}")
        if i > 1:
            found.add(f"www={words[i - 2]}_{words[i - 1]}_{word}")
    for place in range(len(mail.words)):
        found |= {f"cue={name}" for name in mail.classes[place]}
    found |= {f"phrase={name}" for name in mail_phrases(" ".join(map(_plain, mail.words)))}
    names, amounts = len(mail.names), len(mail.sums)
    found |= {f"names={min(names, 6)}", f"sums={min(amounts, 5)}"}
    found |= {f"zone={zone}" for zone in set(mail.zone_of)}
    size = len(mail.tokens)
    found.add(f"size={sum(size > limit for limit in (12, 25, 50, 100, 200, 400))}")
    found |= {f"first={'_'.join(words[:1])}", f"first2={'_'.join(words[:2])}"}
    return found


def name_evidence(mail: Mail, candidate: Candidate, near: bool) -> set[str]:
    """What speaks for the candidate's being a whole name; `near` when the tagger preferred
    another reading of those words.
    """
    tokens = mail.tokens
    found = {f"near={near}"}
    shares = [mail.steps[place].probability for place in candidate.mentions]
    found |= {f"maxq={_odds(max(shares))}", f"minq={_odds(min(shares))}"}
    for place in candidate.mentions:
        step = mail.steps[place]
        odds = _odds(step.probability)
        first, last = tokens[step.first].text, tokens[step.last].text
        before = kind(tokens[step.first - 1].text) if step.first else "^"
        after = kind(tokens[step.last + 1].text) if step.last + 1 < len(tokens) else "$"
        found |= {
            f"q={odds}",
            f"near={near}|q={odds}",
            f"begins={kind(first)}",
            f"begins-w={short(first)}",
            f"ends={kind(last)}",
            f"ends-w={short(last)}",
            f"edge<{before}|{kind(first)}",
            f"edge>{kind(last)}|{after}",
            f"length={min(step.last - step.first + 1, 6)}",
        }
    return found


def pair_evidence(mail: Mail, payee: Sequence[int], payer: Sequence[int]) -> set[str]:
    """What speaks for one party's paying the other; both as places of their mentions."""
    if not payee or not payer:
        return {f"none={'' if payee else 'A'}{'' if payer else 'B'}"}
    return _relation(mail, payee, payer)


def share_evidence(mail: Mail, payee: Sequence[int], amount: Sequence[int]) -> set[str]:
    """What speaks for a sum's being the payee's; both as places of their mentions."""
    if not payee or not amount:
        return {f"none={'' if payee else 'A'}{'' if amount else 'M'}"}
    found = _relation(mail, payee, amount)
    found.add(f"nearest={_nearest(payee, amount, mail.sums)}")
    found.add(f"nearest-name={_nearest(amount, payee, mail.names)}")
    return found


def _nearest(ours: Sequence[int], theirs: Sequence[int], all_theirs: Sequence[int]) -> bool:
    best = min(abs(x - y) for x in ours for y in theirs)
    for x in ours:
        beside = bisect_left(all_theirs, x)
        if any(abs(x - y) < best for y in all_theirs[max(beside - 1, 0) : beside + 1]):
            return False
    return True


def _relation(mail: Mail, ours: Sequence[int], theirs: Sequence[int]) -> set[str]:
    left, right = min(((x, y) for x in ours for y in theirs), key=lambda p: abs(p[0] - p[1]))
    order = "<" if left < right else ">"
    left, right = min(left, right), max(left, right)
    length = right - left - 1
    lines, ends, others = mail.count_between(left + 1, right)
    same = "s" if not lines and not ends else "l" if not lines else ""
    found = {
        f"order={order}",
        f"far={order}{min(length, 12) // 2}",
        f"same={order}{same}",
        f"lines={order}{min(lines, 4)}",
        f"others={order}{min(others, 3)}",
        f"around={order}{_at(mail, left - 1)}|{_at(mail, right + 1)}",
        f"before={order}{_at(mail, left - 1)}",
        f"after={order}{_at(mail, right + 1)}",
    }
    if length <= 12:
        between = mail.words[left + 1 : right]
        found.update([order + word for word in between])
        for classes in mail.classes[left + 1 : right]:
            found.update([f"{order}c={name}" for name in classes])
        if length <= 4:
            found.add(f"path={order}{'_'.join(between)}")
    return found


def _odds(share: float) -> str:
    share = min(max(share, 1e-4), 1 - 1e-4)
    return str(max(-5, min(5, round(math.log(share / (1 - share))))))


def _loose(tokens: Sequence[Token], first: int, end: int) -> list[Unit]:
    return [plain(tokens, i) for i in range(first, end)]


def _symbol(step: Unit, tokens: Sequence[Token]) -> str:
    if step.kind == "word":
        low = tokens[step.first].text.lower()
        return "#" * min(len(low), 4) if low[0].isdigit() else low
    if step.kind == "line":
        return "¶"
    return {"PER": "<P>", "ORG": "<O>", "SUM": "<M>", "CUR": "<C>", "DATE": "<D>"}.get(
        step.kind, "<R>"
    )


@lru_cache(maxsize=50_000)
def _cues(word: str) -> tuple[str, ...]:
    return tuple(name for name, words in lexicon.CUES.items() if word in words)


def _at(mail: Mail, place: int) -> str:
    return mail.words[place] if 0 <= place < len(mail.words) else "$"


def _context(mail: Mail, place: int, peers: Sequence[int]) -> set[str]:
    left = [_at(mail, place - k) for k in (1, 2, 3)]
    right = [_at(mail, place + k) for k in (1, 2, 3)]
    found = {
        f"l1={left[0]}", f"l2={left[1]}_{left[0]}", f"l3={left[2]}_{left[1]}_{left[0]}",
        f"s2={left[1]}", f"r1={right[0]}", f"r2={right[0]}_{right[1]}",
        f"r3={right[0]}_{right[1]}_{right[2]}", f"t2={right[1]}", f"lr={left[0]}_{right[0]}",
    }  # fmt: skip
    found |= _address(mail, place)
    start, end = mail.sentence(place)
    for i in range(start, end):
        if i == place:
            continue
        side = "a" if i < place else "b"
        far = "" if abs(i - place) <= 4 else "+"
        word = mail.words[i]
        if word not in _ENDS and word != ",":
            found.add(f"{side}{far}={word}")
            if len(word) > 5:
                found.add(f"{side}~{word[:5]}")
            if i + 1 < end and i + 1 != place:
                found.add(f"{side}2={word}_{mail.words[i + 1]}")
        found |= {f"{side}{far}c={name}" for name in mail.classes[i]}
    if start:
        back = mail.sentence(start - 1)[0]
        found |= {f"p={word}" for word in mail.words[max(back, start - 12) : start]}
    found |= {f"f={word}" for word in mail.words[end : end + 8]}
    found.add(f"sent={'?' if mail.words[end - 1] == '?' else ''}")
    here = bisect_left(peers, place)
    before = peers[bisect_left(peers, start) : here]
    after = peers[bisect_right(peers, place) : bisect_left(peers, end)]
    found.add(f"peers={min(len(before), 2)}|{min(len(after), 2)}")
    if before:
        found |= {f"pb={word}" for word in mail.words[before[-1] + 1 : place][:6]}
        found.add(f"pbs={'_'.join(mail.words[before[-1] + 1 : place][:4])}")
    if after:
        found |= {f"pa={word}" for word in mail.words[place + 1 : after[0]][:6]}
        found.add(f"pas={'_'.join(mail.words[place + 1 : after[0]][:4])}")
    found |= _line(mail, place)
    return found


def _around(mail: Mail, place: int) -> str:
    before = " ".join(map(_plain, mail.words[max(place - _REACH, 0) : place]))
    return f"{before} @ {' '.join(map(_plain, mail.words[place + 1 : place + 1 + _REACH]))}"


def _plain(word: str) -> str:
    return _PLAIN.get(word, word)


def _address(mail: Mail, place: int) -> set[str]:
    """Whether the mention is the one spoken to, or the one who signs."""
    back = place - 1
    while back >= 0 and mail.words[back] in _TITLES:
        back -= 1
    before, after = _at(mail, back), _at(mail, place + 1)
    found = {f"h1={before}", f"h2={_at(mail, back - 1)}_{before}", f"h1r1={before}_{after}"}
    if mail.steps[place].kind != "PER":
        return found
    if before in lexicon.GREETINGS:
        found.add("greeted")
    elif before in ("¶", "$", "@") and after in (",", "!", ":", "-", "–", "—", "¶"):
        found.add("called" if place < 4 else "called-later")
    elif back < 0:
        found.add("opens")
    if after in ("$", "¶") and (
        before in ("¶", ".", "!", "?", "/", "-", "–", ",") or before in lexicon.SIGN_OFFS
    ):
        rest = len(mail.words) - place
        found.add("signs" if rest <= 4 else "signs-early")
        if before in lexicon.SIGN_OFFS or _at(mail, back - 1) in lexicon.SIGN_OFFS:
            found.add("signs-off")
    return found


def _line(mail: Mail, place: int) -> set[str]:
    start = mail.line_start(place)
    head = mail.words[start : min(place, start + _HEAD)]
    found = {f"zone@={mail.zone_of[mail.steps[place].first]}"}
    if ":" in head[:7]:
        label = head[: head.index(":")]
        found |= {f"label={'_'.join(label[-3:])}"} | {f"labelw={word}" for word in label}
    if place == start:
        found.add("starts-line")
    if head and len(head) <= 6:
        found.add(f"head={'_'.join(head[:3])}")
        found |= {f"headw={word}" for word in head}
    if place == start or len(head) <= 1:
        last = start - 1
        above = mail.words[max(mail.line_start(last), last - _HEAD) : last] if start else []
        found |= {f"above={word}" for word in above[-4:]}
        if above:
            found.add(f"above-end={above[-1]}")
    if _at(mail, place + 1) in ("¶", "$"):
        found.add("ends-line")
        if place == start:
            found.add("own-line")
    return found


def _to_money(mail: Mail, place: int) -> set[str]:
    return _bridge(mail, place, mail.sums, "m")


def _to_names(mail: Mail, place: int) -> set[str]:
    return _bridge(mail, place, mail.names, "n")


def _bridge(mail: Mail, place: int, others: Sequence[int], letter: str) -> set[str]:
    # What stands between this mention and the nearest of the other kind, on either side.
    found = set()
    left, right = bisect_left(others, place), bisect_right(others, place)
    before = others[max(left - 1, 0) : left]
    after = others[right : right + 1]
    if before:
        between = mail.words[max(before[-1] + 1, place - _REACH) : place]
        found.add(f"{letter}<{min(len(between), 8)}")
        if len(between) <= 5:
            found.add(f"{letter}<={'_'.join(between)}")
        found |= {
            f"{letter}<c={name}"
            for i in range(max(before[-1] + 1, place - _REACH), place)
            for name in mail.classes[i]
        }
    else:
        found.add(f"{letter}<none")
    if after:
        between = mail.words[place + 1 : min(after[0], place + 1 + _REACH)]
        found.add(f"{letter}>{min(len(between), 8)}")
        if len(between) <= 5:
            found.add(f"{letter}>={'_'.join(between)}")
        found |= {
            f"{letter}>c={name}"
            for i in range(place + 1, min(after[0], place + 1 + _REACH))
            for name in mail.classes[i]
        }
    else:
        found.add(f"{letter}>none")
    return found


def _arithmetic(candidate: Candidate, candidates: Sequence[Candidate]) -> set[str]:
    """How the sum relates to the others: the largest, their total, a difference, a share."""
    value = Decimal(candidate.value)
    others = [Decimal(c.value) for c in candidates if c is not candidate]
    earlier = [Decimal(c.value) for c in candidates[: candidates.index(candidate)]]
    if not others:
        return {"alone"}
    found = set()
    if value > max(others):
        found.add("largest")
    if value < min(others):
        found.add("smallest")
    tails = (sum(earlier[-k:]) for k in range(2, min(len(earlier), 12) + 1))
    if any(total == value for total in tails) or (len(earlier) > 1 and 2 * value == sum(earlier)):
        found.add("total")
    for i, first in enumerate(others):
        for second in others[i + 1 :]:
            if abs(first - second) == value:
                found.add("difference")
            if first + second == value:
                found.add("sum-of-two")
    for other in others:
        found |= _share_of(value, other)
    return found


def _share_of(value: Decimal, other: Decimal) -> set[str]:
    if not other or value == other:
        return set()
    if value > other:
        return {"multiple"} if value % other == 0 else set()
    share = value / other
    found = {f"share={n}" for n in (2, 3, 4, 5, 10) if abs(share * n - 1) < Decimal("0.002")}
    return found | {"percent"} if (share * 100) % 5 == 0 else found


_TITLES = lexicon.HONORIFICS | {".", "the", "our", "to:"}

_TELLING = (
    lexicon.COMPANY_SUFFIXES | lexicon.ORGANISATION_NOUNS | lexicon.BANK_WORDS | lexicon.HONORIFICS
)
