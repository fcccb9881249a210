"""Finds in a mail the turns of phrase that `patterns.toml` lists."""

import re
import tomllib
from functools import lru_cache
from importlib.resources import files

Table = list[tuple[str, re.Pattern[str]]]


def party_phrases(around: str) -> list[str]:
    """The turns of phrase that a party marked `@` stands in."""
    return [name for name, pattern in _table("party") if pattern.search(around)]


def sum_phrases(around: str) -> list[str]:
    """The turns of phrase that a sum marked `@` stands in."""
    return [name for name, pattern in _table("sum") if pattern.search(around)]


def mail_phrases(whole: str) -> list[str]:
    """The turns of phrase that the mail has."""
    return [name for name, pattern in _table("mail") if pattern.search(whole)]


@lru_cache(maxsize=3)
def _table(section: str) -> Table:
    text = files("paydesk.entities").joinpath("patterns.toml").read_text(encoding="utf-8")
    content = tomllib.loads(text)
    table = []
    for name, written in content[section].items():
        whole = written
        for piece, meaning in content["pieces"].items():
            whole = whole.replace(f"<{piece}>", meaning)
        table.append((name, re.compile(whole)))
    return table
