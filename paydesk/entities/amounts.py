"""Turns an amount as written, in any convention or in words, into a plain decimal text."""

import re
from decimal import Decimal

from paydesk.entities.lexicon import MULTIPLIERS, NUMBER_WORDS

_DIGITS = re.compile(r"(?:(?<!\d)[.,])?\d+(?:[.,'’\s\u00a0\u202f]+\d+)*")
_WORD = re.compile(r"[^\W\d_]+")
_FRACTIONS = {"half": Decimal("0.5"), "quarter": Decimal("0.25")}
_GROUP = 3


def amount(written: str) -> str | None:
    """The amount that `written` means, without a currency: "1.250,00" is "1250.00", "2 lakh"
    "200000", "three and a half grand" "3500"; None when it holds no number.
    """
    numbers = _DIGITS.search(written)
    if numbers is None:
        return _in_words(written)
    value = _number(numbers.group())
    rest = written[numbers.end() :].strip().lower()
    factor = 1
    for word in _WORD.findall(rest):
        if word not in MULTIPLIERS:
            break
        factor *= MULTIPLIERS[word]
    return value if factor == 1 else _plain(Decimal(value) * factor)


def _number(written: str) -> str:
    """The decimal of a number whose separators may be of any country."""
    digits = re.sub(r"[\s\u00a0\u202f'’]", "", written)
    marks = [sign for sign in digits if sign in ".,"]
    if not marks:
        return _strip(digits)
    last = marks[-1]
    whole, _, tail = digits.rpartition(last)
    if not whole:
        return f"0.{tail}"
    if len(set(marks)) == 2:
        decimal = True  # both stand: the last one is the decimal mark
    elif len(marks) > 1:
        decimal = len(tail) != _GROUP
    else:
        # One mark before exactly three digits groups thousands ("1.250", "1,250"), except after a
        # lone zero ("0.125").
        decimal = len(tail) != _GROUP or whole == "0"
    whole = re.sub(r"[.,]", "", whole)
    return f"{_strip(whole)}.{tail}" if decimal else _strip(whole + tail)


def _strip(digits: str) -> str:
    return digits.lstrip("0") or "0"


def _plain(value: Decimal) -> str:
    text = f"{value.normalize():f}"
    return text or "0"


def _in_words(written: str) -> str | None:
    words = [word for word in re.findall(r"[^\W\d_]+", written.lower()) if word != "and"]
    total = Decimal(0)  # what is closed by a multiplier above a hundred
    part: Decimal | None = None
    for position, word in enumerate(words):
        if word in NUMBER_WORDS:
            part = (part or 0) + Decimal(NUMBER_WORDS[word])
        elif word in _FRACTIONS:
            part = (part or 0) + _FRACTIONS[word]
        elif word in MULTIPLIERS and word != "l":
            size = MULTIPLIERS[word]
            if size == 100:
                part = (part if part is not None else Decimal(1)) * size
            else:
                total += (part if part is not None else Decimal(1)) * size
                part = None
        elif word in ("a", "an", "of") or position == 0:
            continue
    if part is None and not total:
        return None
    return _plain(total + (part or 0))
