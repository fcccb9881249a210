"""Turns an amount as written, in any convention or in words, into a plain decimal text."""

import re
from decimal import Decimal

from paydesk.entities.lexicon import MULTIPLIERS
from paydesk.entities.number_words import number_in_words

_DIGITS = re.compile(r"(?:(?<!\d)[.,])?\d+(?:[.,'’\s\u00a0\u202f]+\d+)*")
_WORD = re.compile(r"[^\W\d_]+")
# As on a cheque: "six thousand fifty and 50/100", "two hundred & no/100 dollars".
_CHEQUE = re.compile(
    r"(?P<whole>.+?)\s*(?:\band\b|&)\s*(?P<cents>\d{1,2}|no|xx)\s*/\s*100(?!\d).*",
    re.IGNORECASE | re.DOTALL,
)
_HUNDREDTHS = re.compile(r"/\s*100(?!\d)")
# Thousands in languages of which whole sums are written in figures: no names or words of English.
_AFTER_FIGURES = {
    **MULTIPLIERS,
    **dict.fromkeys(("tis", "tisíc", "mila", "tusen", "tusind", "ezer"), 1000),
    "miljoner": 1_000_000,
}
_MOST_FACTORS = 2
_GROUP = 3


def amount(written: str, *, thousandths: bool = False) -> str | None:
    """The amount that `written` means, without a currency: "1.250,00" is "1250.00", "2 lakh"
    "200000", "three and a half grand" "3500"; None when it holds no number, or not surely one.

    `thousandths` says that the currency has three decimals: "340.500" is no 340 thousand.
    """
    if _HUNDREDTHS.search(written):
        cheque = _CHEQUE.fullmatch(written)
        whole = amount(cheque["whole"]) if cheque else None
        if cheque is None or whole is None:
            return None
        cents = cheque["cents"] if cheque["cents"].isdecimal() else "0"
        return f"{Decimal(whole) + Decimal(cents) / 100:.2f}"
    numbers = _DIGITS.search(written)
    if numbers is None:
        value = number_in_words(written)
        return None if value is None else _plain(value)
    found = _number(numbers.group(), thousandths)
    rest = written[numbers.end() :].strip().lower()
    factor = 1
    for word in _WORD.findall(rest)[:_MOST_FACTORS]:
        if word not in _AFTER_FIGURES:
            break
        factor *= _AFTER_FIGURES[word]
    return found if factor == 1 else _plain(Decimal(found) * factor)


def _number(written: str, thousandths: bool) -> str:
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
        decimal = len(tail) != _GROUP or whole == "0" or (thousandths and last == ".")
    whole = re.sub(r"[.,]", "", whole)
    return f"{_strip(whole)}.{tail}" if decimal else _strip(whole + tail)


def _strip(digits: str) -> str:
    return digits.lstrip("0") or "0"


def _plain(value: Decimal) -> str:
    text = f"{value.normalize():f}"
    return text or "0"
