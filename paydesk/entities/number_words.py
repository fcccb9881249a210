"""Numbers in English words, as people write sums: what is not surely one number is none."""

import re
from collections.abc import Sequence
from decimal import Decimal

from paydesk.entities.currencies import is_currency_mark
from paydesk.entities.lexicon import MULTIPLIERS, NUMBER_WORDS

_WORD = re.compile(r"[^\W\d_]+")
_FRACTIONS = {"half": Decimal("0.5"), "quarter": Decimal("0.25"), "quarters": Decimal("0.25")}
# A lone "l" is no lakh but a letter, and after "mille" come words of another language.
_SIZES = {word: size for word, size in MULTIPLIERS.items() if word not in ("l", "mille")}
_COUNTED = frozenset(["dozen", "fiver", "tenner"])
_HUNDRED = 100
_TWENTY = 20
_TEN = 10

_Word = re.Match[str]


def number_in_words(written: str) -> Decimal | None:
    """The number: "one lakh eighty five thousand", "three and a half grand", "one twenty" for 120,
    "eight dollars fifty" for 8.50.

    Words before and after it are let go. One among its own that belongs to no number ("five or
    six", "two of fifty") leaves it open which sum is meant: None.
    """
    words = list(_WORD.finditer(written.lower()))
    known = [i for i, word in enumerate(words) if _counts(word.group())]
    if not known:
        return None
    words = words[known[0] : known[-1] + 1]
    for i, word in enumerate(words):
        if is_currency_mark(word.group()):
            whole, cents = _number(written, words[:i]), _number(written, words[i + 1 :])
            if whole is None or cents is None or cents >= _HUNDRED:
                return None
            return whole + cents / _HUNDRED
    return _number(written, words)


def _counts(word: str) -> bool:
    return word in NUMBER_WORDS or word in _FRACTIONS or word in _SIZES


def _number(written: str, words: Sequence[_Word]) -> Decimal | None:
    total = Decimal(0)  # what is closed by a multiplier above a hundred
    smallest: int | None = None  # of these
    part: Decimal | None = None
    before: _Word | None = None
    joined = False  # by "and"
    for found in words:
        word = found.group()
        if word in ("and", "a", "an", "of"):
            joined = joined or word == "and"
            continue
        beside = before is not None and not written[before.end() : found.start()].strip(" -")
        if word in _COUNTED:
            part = NUMBER_WORDS[word] * (Decimal(1) if part is None else part)
        elif word in NUMBER_WORDS:
            part = _with(part, NUMBER_WORDS[word], beside=beside)
        elif word in _FRACTIONS:
            fraction = _FRACTIONS[word]
            part = fraction if part is None else part + fraction if joined else part * fraction
        elif word in _SIZES:
            size = _SIZES[word]
            one = Decimal(1) if part is None else part
            if size == _HUNDRED:
                part = one * size if one < _HUNDRED else None
            elif smallest is None or size < smallest:
                total, smallest, part, before, joined = total + one * size, size, None, None, False
                continue
            else:
                return None
        else:
            return None
        if part is None:
            return None
        before, joined = found, False
    return total + (part or 0) if part is not None or total else None


def _with(part: Decimal | None, value: int, *, beside: bool) -> Decimal | None:
    """The number so far with one more word, of below a hundred; None where no one counts so."""
    if part is None:
        return Decimal(value)
    if part >= _HUNDRED and part % _HUNDRED == 0:
        return part + value
    if part % _TEN == 0 and part % _HUNDRED >= _TWENTY and value < _TEN and beside:
        return part + value
    if 0 < part < _TEN <= value and part == int(part) and beside:
        return part * _HUNDRED + value  # "one twenty" is said for 120
    return None
