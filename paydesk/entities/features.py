"""Turns tokens into the features that the span tagger sees: lists of strings, one list a token."""

from collections.abc import Sequence
from functools import lru_cache

from paydesk.entities import lexicon
from paydesk.entities.currencies import is_currency_mark
from paydesk.entities.tokens import Token
from paydesk.entities.zones import split_lines, zones

VERSION = "1"

_WINDOW = 3
_BLANK: tuple[str, ...] = ()


def token_features(text: str, tokens: Sequence[Token]) -> list[list[str]]:
    """For every token its features, each a string that is either there or not.

    A feature names its place in the window before the equals sign: `-1|w=to` is "the word before
    is `to`".
    """
    count = len(tokens)
    kinds = [_kinds(token.text) for token in tokens]
    places = _places(tokens)
    rows: list[list[str]] = []
    for i in range(count):
        word = tokens[i].text
        row = list(_own(word))
        row += places[i]
        if i and tokens[i - 1].end == tokens[i].start:
            row.append("glued")
        for offset in range(-_WINDOW, _WINDOW + 1):
            j = i + offset
            if offset == 0:
                continue
            if 0 <= j < count:
                row += _neighbour(tokens[j].text, offset)
            else:
                row.append(f"{offset}|edge")
        if i:
            row.append(f"p:{_short(tokens[i - 1].text)}|{_short(word)}")
            row.append(f"ks:{kinds[i - 1]}|{kinds[i]}")
        if i + 1 < count:
            row.append(f"n:{_short(word)}|{_short(tokens[i + 1].text)}")
            row.append(f"kn:{kinds[i]}|{kinds[i + 1]}")
        if 0 < i < count - 1:
            row.append(f"k3:{kinds[i - 1]}|{kinds[i]}|{kinds[i + 1]}")
        rows.append(row)
    return rows


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
    short = _short(word)
    row = ["bias", f"w={short}", f"s={shape(word)}", f"k={_kinds(word)}"]
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
    row = [f"{offset}|w={_short(word)}", f"{offset}|k={_kinds(word)}"]
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
    return tuple(classes)


@lru_cache(maxsize=50_000)
def _kinds(word: str) -> str:
    low = word.lower()
    classes = word_classes(low)
    for name in ("currency", "suffix", "honorific", "month", "number", "multiplier"):
        if name in classes:
            return name
    if word[0].isalpha():
        if word.isupper() and len(word) > 1:
            return "UP"
        if word[0].isupper():
            return "Cap"
        return "low"
    if word[0].isdigit():
        digits = sum(sign.isdigit() for sign in word)
        return f"num{min(digits, 7)}" if digits == len(word) else f"sep{min(digits, 7)}"
    if word[0] == "\n":
        return "nl2" if word.count("\n") > 1 else "nl"
    return word[:1]


def _short(word: str) -> str:
    # Numbers are told apart by their shape only: their digits would be learnt by heart.
    low = word.lower()
    if low[0].isdigit() and len(low) > 2:
        return "#" + "".join("9" if sign.isdigit() else sign for sign in low[:12])
    if low[0] == "\n":
        return "nl"
    return low


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
