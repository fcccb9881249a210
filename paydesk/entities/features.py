"""Turns tokens into the features that the span tagger sees: lists of strings, one list a token."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from paydesk.entities import lexicon
from paydesk.entities.currencies import is_currency_mark
from paydesk.entities.tokens import Token
from paydesk.entities.vocabulary import is_given_name, is_surname, rarity
from paydesk.entities.zones import split_lines, zones

VERSION = "1"

_OFFSETS = (-3, -2, -1, 1, 2, 3)
_CAPITALS = frozenset(["Cap", "UP.", "UPc", "UPr", "suf", "UPo"])


def token_features(text: str, tokens: Sequence[Token]) -> list[list[str]]:
    """For every token its features, each a string that is either there or not.

    A feature names its place in the window before the bar: `-1|w=to` is "the word before is `to`".
    """
    count = len(tokens)
    words = [token.text for token in tokens]
    kinds = [kind(word) for word in words]
    style = _style(words)
    gaps = _gaps(text, tokens)
    places = _places(tokens)
    twins = _twins(words)
    runs = _runs(kinds)
    rows: list[list[str]] = []
    for i, word in enumerate(words):
        row = [*_own(word), *places[i], gaps[i], runs[i], f"{style}|{kinds[i]}"]
        for offset in _OFFSETS:
            j = i + offset
            row += _neighbour(words[j], offset) if 0 <= j < count else (f"{offset}|edge",)
        last, this = kinds[i - 1] if i else "^", kinds[i]
        then = kinds[i + 1] if i + 1 < count else "$"
        row += (f"kp:{last}|{this}", f"kn:{this}|{then}", f"k3:{last}|{this}|{then}")
        if i:
            row.append(f"p:{short(words[i - 1])}|{short(word)}")
            row.append(f"pk:{short(words[i - 1])}|{this}|{then}")
            if i > 1:
                row.append(f"kpp:{kinds[i - 2]}|{last}|{this}")
        if i + 1 < count:
            row.append(f"n:{short(word)}|{short(words[i + 1])}")
            row.append(f"nk:{last}|{this}|{short(words[i + 1])}")
            row.append(f"gap>{gaps[i + 1]}")
        row += twins.get(i, ())
        rows.append(row)
    return rows


def _style(words: Sequence[str]) -> str:
    """How the mail is written: all in lower case, all in capitals, or as one does."""
    letters = [word for word in words if word[0].isalpha() and len(word) > 1]
    upper = sum(word.isupper() for word in letters)
    lower = sum(word.islower() for word in letters)
    if lower == len(letters):
        return "lower"
    if lower > 0.93 * len(letters):
        return "lowish"
    return "upper" if upper > 0.6 * len(letters) else "mixed"


def _gaps(text: str, tokens: Sequence[Token]) -> list[str]:
    gaps = ["gap=^"]
    for before, token in pairwise(tokens):
        gap = text[before.end : token.start]
        gaps.append("gap=" if not gap else "gap=_" if gap == " " else "gap=wide")
    return gaps if tokens else []


def _runs(kinds: Sequence[str]) -> list[str]:
    """Where each token stands in a run of capitalised words: its place from left and right."""
    marks = ["run=-"] * len(kinds)
    start = 0
    for i in range(len(kinds) + 1):
        if i < len(kinds) and kinds[i][:3] in _CAPITALS:
            continue
        for j in range(start, i):
            marks[j] = f"run={min(j - start, 3)}/{min(i - 1 - j, 3)}"
        start = i + 1
    return marks


def _twins(words: Sequence[str]) -> dict[int, list[str]]:
    """For rarer words that stand twice in the mail: what stands around the other places."""
    where: dict[str, list[int]] = {}
    for i, word in enumerate(words):
        if word[0].isalpha() and len(word) > 2 and rarity(word.lower()) != "common":
            where.setdefault(word.lower(), []).append(i)
    found: dict[int, list[str]] = {}
    for places in where.values():
        if len(places) > 1:
            for i in places:
                row = ["twin"]
                for j in places[:4]:
                    if j != i:
                        row.append(f"twin|{kind(words[j])}")
                        if j:
                            row.append(f"twin-1|{short(words[j - 1])}")
                            row.append(f"twin-1|k={kind(words[j - 1])}")
                        if j + 1 < len(words):
                            row.append(f"twin+1|{short(words[j + 1])}")
                            row.append(f"twin+1|k={kind(words[j + 1])}")
                found[i] = list(dict.fromkeys(row))
    return found


def _places(tokens: Sequence[Token]) -> list[list[str]]:
    places: list[list[str]] = [["zone=end"]] * len(tokens)
    lines = split_lines(tokens)
    last = len(lines) - 1
    for number, ((start, end), zone) in enumerate(zip(lines, zones(tokens, lines), strict=True)):
        length = "1" if end - start <= 2 else "s" if end - start <= 6 else "l"
        rest = [
            f"zone={zone}",
            f"line={length}{'0' if number == 0 else 'z' if number == last else ''}",
        ]
        for i in range(start, end):
            places[i] = rest
        places[start] = [*rest, "first", f"first={zone}{length}"]
        places[end - 1] = [*places[end - 1], "last", f"last={zone}{length}"]
    return places


@lru_cache(maxsize=50_000)
def _own(word: str) -> tuple[str, ...]:
    low = word.lower()
    row = ["bias", f"w={short(word)}", f"s={shape(word)}", f"k={kind(word)}"]
    if word[0].isalpha():
        row += [f"w3={low[-3:]}", f"w2={low[-2:]}", f"p3={low[:3]}", f"p2={low[:2]}"]
        if len(low) > 4:
            row.append(f"w4={low[-4:]}")
        row.append(f"len={min(len(low), 8)}")
    row += [f"c={name}" for name in word_classes(low)]
    return tuple(row)


@lru_cache(maxsize=200_000)
def _neighbour(word: str, offset: int) -> tuple[str, ...]:
    low = word.lower()
    row = [f"{offset}|w={short(word)}", f"{offset}|k={kind(word)}"]
    if abs(offset) <= 2:
        row.append(f"{offset}|s={shape(word)}")
        row += [f"{offset}|c={name}" for name in word_classes(low)]
    return tuple(row)


@lru_cache(maxsize=50_000)
def shape(word: str) -> str:
    """The word's shape with runs shortened: "O'Leary" is "X'Xx", "1.250,00" is "9.9,9"."""
    marks: list[str] = []
    for sign in word[:24]:
        if sign.isdigit():
            mark = "9"
        elif sign.isupper():
            mark = "X"
        elif sign.isalpha():
            mark = "x"
        elif sign == "\n":
            mark = "n"
        else:
            mark = sign
        if not marks or marks[-1] != mark:
            marks.append(mark)
    return "".join(marks)


@lru_cache(maxsize=50_000)
def word_classes(low: str) -> tuple[str, ...]:
    """The names of the word lists that the lower-case word stands in."""
    classes = [name for name, words in _LISTS.items() if low in words]
    if is_currency_mark(low):
        classes.append("currency")
    if is_given_name(low):
        classes.append("given")
    if is_surname(low):
        classes.append("surname")
    return tuple(classes)


@lru_cache(maxsize=50_000)
def kind(word: str) -> str:
    """What the word looks like, in one word: a list it stands in, or its letters' case."""
    low = word.lower()
    classes = word_classes(low)
    for name in ("currency", "suffix", "honorific", "month", "number", "multiplier"):
        if name in classes:
            return name
    if word[0].isalpha():
        return _case(word) + _RARITY[rarity(low)]
    if word[0].isdigit():
        digits = sum(sign.isdigit() for sign in word)
        return f"num{min(digits, 7)}" if digits == len(word) else f"sep{min(digits, 7)}"
    if word[0] == "\n":
        return "nl2" if word.count("\n") > 1 else "nl"
    return word[:1]


def _case(word: str) -> str:
    if word.isupper() and len(word) > 1:
        return "UP"
    if word[0].isupper():
        return "Cap"
    return "lOw" if any(map(str.isupper, word)) else "low"


@lru_cache(maxsize=50_000)
def short(word: str) -> str:
    """The word in lower case; a number by its shape only."""
    # Numbers are told apart by their shape only: their digits would be learnt by heart.
    low = word.lower()
    if low[0].isdigit() and len(low) > 2:
        return "#" + "".join("9" if sign.isdigit() else sign for sign in low[:12])
    if low[0] == "\n":
        return "nl"
    return low


_RARITY = {"common": "c", "known": "k", "": "o"}

_LISTS: dict[str, frozenset[str]] = {
    "suffix": lexicon.COMPANY_SUFFIXES,
    "orgnoun": lexicon.ORGANISATION_NOUNS,
    "bank": lexicon.BANK_WORDS,
    "honorific": lexicon.HONORIFICS,
    "month": lexicon.MONTHS,
    "day": lexicon.WEEKDAYS,
    "number": frozenset(lexicon.NUMBER_WORDS),
    "multiplier": frozenset(lexicon.MULTIPLIERS),
    "greeting": lexicon.GREETINGS,
    "signoff": lexicon.SIGN_OFFS,
    **{f"cue-{name}": words for name, words in lexicon.CUES.items()},
}
