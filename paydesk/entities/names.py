"""Turns the name of a party as it stands in a mail into the name that goes on the form."""

import re

from paydesk.entities.lexicon import COMPANY_SUFFIXES

_POSSESSIVE = re.compile(r"(?<=\w)['’]s?$")
# Only what never begins a name itself, as "Sri" and "Doña" may.
_HONORIFICS = frozenset(["mr", "mrs", "ms", "miss", "mx", "dr", "m/s", "messrs", "herr", "frau"])
# Of a person these are no part of the name; a firm may begin with them.
_TITLES = _HONORIFICS | frozenset(
    ["adv", "advocate", "prof", "professor", "rev", "revd", "kum", "mawlana", "sir", "lady", "lord"]
)
_LABELS = frozenset(["a/c", "acct", "beneficiary", "payee", "therefore"])
_BEFORE_ANY = _HONORIFICS | _LABELS
_BEFORE_PERSON = _TITLES | _LABELS
_CLOSINGS = frozenset(["please", "pls", "plz"])
_QUOTES = '"“”„'
_AROUND = f" ,;:{_QUOTES}"
_QUOTING = re.compile(r"\n[>\s]*")
_NEXT_SENTENCE = re.compile(r"(?<=[a-z]{5})\. (?=[A-Z]).*$")
_ACCOUNT_NUMBER = re.compile(r"\d{6,}")
# What is written with a dot wherever it stands: the dot is the name's, not the sentence's.
_DOTTED = frozenset(["co", "bros", "inc", "corp"])


def name(written: str, *, person: bool = False, dotted: bool = False) -> str:
    """The name without honorific, possessive "'s" and line breaks: "M/s Annamalai
    Boiler\\nLeasing's" is "Annamalai Boiler Leasing".

    What the tagger took too much of is cut off: a label before it, an account's number, a "please"
    or the next sentence behind it. `person` loses titles too. `dotted`: a dot follows in the mail,
    which belongs to the name where it abbreviates.
    """
    words = _NEXT_SENTENCE.sub("", _QUOTING.sub(" ", written)).split()
    before = _BEFORE_PERSON if person else _BEFORE_ANY
    while len(words) > 1 and words[0].lower().strip(".:") in before:
        words.pop(0)
    while len(words) > 1 and (
        words[-1].lower().strip(".") in _CLOSINGS or _ACCOUNT_NUMBER.fullmatch(words[-1])
    ):
        words.pop()
    plain = _POSSESSIVE.sub("", _unquoted(" ".join(words)))
    last = plain.rsplit(" ", 1)[-1]
    if dotted and " " in plain and (last.lower() in _DOTTED or re.fullmatch("[A-Z]", last)):
        return f"{plain}."
    if last.endswith(".") and len(last) > 5 and not _abbreviated(last[:-1]):
        return plain[:-1]
    return plain


def _unquoted(text: str) -> str:
    # Quotation marks around a part of a name are the name's: "Szyszka" Zakład Usług.
    stripped = text.strip(_AROUND)
    marks = sum(text.count(mark) for mark in _QUOTES)
    inner = sum(stripped.count(mark) for mark in _QUOTES)
    return text.strip(" ,;:") if inner < marks and inner % 2 else stripped


def _abbreviated(word: str) -> bool:
    return "." in word or word.lower() in COMPANY_SUFFIXES
