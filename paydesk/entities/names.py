"""Turns the name of a party as it stands in a mail into the name that goes on the form."""

import re

from paydesk.entities.lexicon import HONORIFICS

_POSSESSIVE = re.compile(r"(?<=\w)['’]s?$")
_QUOTING = re.compile(r"\n[>\s]*")


def name(written: str) -> str:
    """The name without honorific, possessive "'s" and line breaks: "M/s Annamalai Boiler\\n Leasing's"
    is "Annamalai Boiler Leasing".
    """
    words = _QUOTING.sub(" ", written).split()
    while len(words) > 1 and words[0].lower().strip(".") in HONORIFICS:
        words.pop(0)
    return _POSSESSIVE.sub("", " ".join(words).strip(' ,;:"“”'))
