"""Tells what a word is known as: common or rarer English, somebody's given name, a surname."""

from functools import lru_cache
from importlib.resources import files
from typing import Literal

Rarity = Literal["common", "known", ""]


def rarity(low: str) -> Rarity:
    """How well an English dictionary knows the lower-case word."""
    return _dictionary().get(low, "")


def is_given_name(low: str) -> bool:
    """Whether the lower-case word is a given name."""
    return low in _words("given_names.txt")


def is_surname(low: str) -> bool:
    """Whether the lower-case word is a surname."""
    return low in _words("surnames.txt")


@lru_cache(maxsize=1)
def _dictionary() -> dict[str, Rarity]:
    words: dict[str, Rarity] = {}
    level: Rarity = "common"
    for line in _lines("english.txt"):
        if line == "[known]":
            level = "known"
        elif line[0] != "[":
            words[line] = level
    return words


@lru_cache(maxsize=2)
def _words(name: str) -> frozenset[str]:
    return frozenset(_lines(name))


def _lines(name: str) -> list[str]:
    text = files("paydesk.entities").joinpath(name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and line[0] != "#"]
