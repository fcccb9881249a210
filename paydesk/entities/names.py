"""Turns the name of a party as it stands in a mail into the name that goes on the form."""

import re

_POSSESSIVE = re.compile(r"(?<=\w)['’]s?$")
# Only what never begins a name itself, as "Sri" and "Doña" may.
_HONORIFICS = frozenset(["mr", "mrs", "ms", "miss", "mx", "dr", "m/s", "messrs", "herr", "frau"])
_QUOTING = re.compile(r"\n[>\s]*")


def name(written: str) -> str:
    """The name without honorific, possessive "'s" and line breaks: "M/s Annamalai
    Boiler\\nLeasing's" is "Annamalai Boiler Leasing".
    """
    words = _QUOTING.sub(" ", written).split()
    while len(words) > 1 and words[0].lower().strip(".") in _HONORIFICS:
        words.pop(0)
    return _POSSESSIVE.sub("", " ".join(words).strip(' ,;:"“”'))
