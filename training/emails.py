"""Annotated payment e-mails: loaded from files, split by template, and varied into new ones."""

import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from faker import Faker

from paydesk.entities.amounts import amount
from paydesk.entities.currencies import currency
from paydesk.entities.names import name
from paydesk.entities.schema import LABELS
from training.markup import Mail, MailError, Span, load_marked

CORPUS = Path(__file__).parent / "corpus"

_LOCALES = (
    "en_GB", "en_US", "en_IN", "en_AU", "de_DE", "de_CH", "fr_FR", "nl_NL", "it_IT", "es_ES",
    "sv_SE", "da_DK", "no_NO", "pl_PL", "pt_BR", "cs_CZ", "en_NG", "hu_HU", "fi_FI", "tr_TR",
)  # fmt: skip
_OWN_TAGS = {"AMOUNT": "amt", "CURRENCY": "cur", "ACCOUNT_A": "to_org", "ACCOUNT_B": "from_org"}


def load_corpus(folder: Path = CORPUS) -> list[Mail]:
    """The hand-written training mail that Paydesk ships."""
    return [mail for path in sorted(folder.glob("*.jsonl")) for mail in load_marked(path)]


def load_own(path: Path) -> list[Mail]:
    """Mail of the user's own: JSONL of `{"text", "spans": [[start, end, label]]}`.

    Raises MailError, naming file, line and member, for anything that training could not use.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        message = f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8 JSONL."
        raise MailError(message) from error
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}; name a JSONL file of annotated mail."
        raise MailError(message) from error
    mails = [_own(line, f"{path}, line {n}", n) for n, line in enumerate(lines, 1) if line.strip()]
    if not mails:
        message = f"{path} holds no mail; write one object a line: {{'text': …, 'spans': …}}."
        raise MailError(message)
    return mails


def _own(line: str, where: str, number: int) -> Mail:
    try:
        row = json.loads(line)
    except ValueError as error:
        message = f"{where}: not JSON ({error}); write one object a line."
        raise MailError(message) from error
    if not isinstance(row, dict):
        message = f"{where}: not an object; write {{'text': …, 'spans': …}}."
        raise MailError(message)
    for member, kind in (("text", str), ("spans", list)):
        if not isinstance(row.get(member), kind):
            message = f"{where}: the member '{member}' is missing or is no {kind.__name__}; add it."
            raise MailError(message)
    text: str = row["text"]
    if not text.strip():
        message = f"{where}: 'text' is empty; write the mail, or delete the line."
        raise MailError(message)
    spans = sorted((_own_span(entry, text, where) for entry in row["spans"]), key=lambda s: s.start)
    for left, right in pairwise(spans):
        if right.start < left.end:
            message = (
                f"{where}: 'spans' [{left.start}, {left.end}] and [{right.start}, {right.end}] "
                f"overlap; let each character belong to one span."
            )
            raise MailError(message)
    return Mail(f"own-{number}", text, tuple(spans), _fields(text, spans))


def _own_span(entry: Any, text: str, where: str) -> Span:
    if not isinstance(entry, list) or len(entry) != 3:
        message = f"{where}: 'spans' holds {entry!r}; write [start, end, label]."
        raise MailError(message)
    start, end, label = entry
    if not (type(start) is int and type(end) is int) or not 0 <= start < end <= len(text):
        message = (
            f"{where}: 'spans' [{start!r}, {end!r}] lies outside the text of {len(text)} "
            f"characters; count from 0, the end not included."
        )
        raise MailError(message)
    if label not in _OWN_TAGS:
        message = f"{where}: 'spans' has the label {label!r}; use one of {', '.join(LABELS)}."
        raise MailError(message)
    return Span(start, end, _OWN_TAGS[label])


def _fields(text: str, spans: Sequence[Span]) -> dict[str, str | None]:
    found: dict[str, str | None] = dict.fromkeys(("amount", "currency", "accountA", "accountB"))
    for span in spans:
        surface = text[span.start : span.end]
        if span.tag == "amt":
            found["amount"] = amount(surface)
        elif span.tag == "cur":
            known = currency(surface, text)
            found["currency"] = known.code if known else None
        else:
            field = "accountA" if span.tag.startswith("to") else "accountB"
            written = name(surface)
            if len(written) >= len(found[field] or ""):
                found[field] = written
    return found


def split_by_template(
    mails: Sequence[Mail], share: float, seed: int
) -> tuple[list[Mail], list[Mail]]:
    """Mails for training and for holding out: whole templates go to one side, never sentences."""
    order = list(mails)
    random.Random(seed).shuffle(order)  # noqa: S311 (no secret)
    held = max(1, round(len(order) * share)) if len(order) > 1 else 0
    return order[held:], order[:held]


def write_holdout(mails: Iterable[Mail], path: Path) -> None:
    """Mails as promotion reads them: JSONL of `{"text", "fields"}`."""
    rows = (json.dumps({"text": m.text, "fields": m.fields}, ensure_ascii=False) for m in mails)
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class _Piece:
    text: str
    tag: str | None


class Variator:
    """Makes new mails of hand-written ones: other names, amounts, currencies, and noise."""

    def __init__(self, mails: Sequence[Mail], seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 (no secret)
        self._fakers = [Faker(locale) for locale in _LOCALES]
        for number, faker in enumerate(self._fakers):
            faker.seed_instance(seed * 1000 + number)
        self._firms = sorted(
            {
                mail.text[span.start : span.end]
                for mail in mails
                for span in mail.spans
                if span.tag.endswith("org") and "\n" not in mail.text[span.start : span.end]
            }
        )

    def vary(self, mail: Mail) -> Mail:
        """A new mail of the same structure."""
        pieces = _pieces(mail)
        pieces = self._rename(pieces)
        pieces = self._recount(pieces)
        if self._random.random() < 0.5:
            pieces = self._roughen(pieces)
        return _assemble(mail, pieces)

    def _rename(self, pieces: list[_Piece]) -> list[_Piece]:
        words: dict[str, str] = {}
        firms: dict[str, str] = {}
        surfaces = [p.text for p in pieces if p.tag and p.tag.endswith("org")]
        for surface in sorted(set(surfaces), key=len, reverse=True):
            whole = next((known for known in firms if _short_of(surface, known)), None)
            if whole is None:
                firms[surface] = self._firm(surface)
            else:
                count = len(surface.split())
                firms[surface] = " ".join(firms[whole].split()[:count])
        faker = self._random.choice(self._fakers)
        out = []
        for piece in pieces:
            text = piece.text
            if piece.tag and piece.tag.endswith("org"):
                text = _like(piece.text, firms[piece.text])
            elif piece.tag and piece.tag.endswith("per"):
                text = self._person(piece.text, words, faker)
            out.append(replace(piece, text=text))
        return out

    def _firm(self, old: str) -> str:
        draw = self._random.random()
        if draw < 0.55:
            return self._random.choice(self._firms)
        faker = self._random.choice(self._fakers)
        if draw < 0.7:
            return str(faker.company()).replace("\n", " ")
        # Keeps the trade and the legal form, changes what is a name of its own.
        parts = old.split()
        parts[0] = faker.last_name() if parts[0][:1].isupper() else faker.last_name().lower()
        return " ".join(parts)

    def _person(self, old: str, words: dict[str, str], faker: Faker) -> str:
        parts = re.split(r"(\s+)", old)
        count = (len(parts) + 1) // 2
        out = []
        for position, part in enumerate(parts):
            if position % 2 or part.lower() in ("van", "der", "de", "la", "von", "bin", "al", "of"):
                out.append(part)
                continue
            if part not in words:
                last = position == len(parts) - 1 and count > 1
                new = str(faker.last_name() if last else faker.first_name()).split()[0]
                if len(part.strip(".")) == 1:
                    new = new[0] + part[1:]
                words[part] = _like(part, new)
            out.append(words[part])
        return "".join(out)

    def _recount(self, pieces: list[_Piece]) -> list[_Piece]:
        # The same digits change to the same digits, so that a sum that stands twice still does.
        digits: dict[str, str] = {}
        out = []
        for piece in pieces:
            text = piece.text
            if piece.tag in ("amt", "money", "ref") and any(sign.isdigit() for sign in text):
                key = re.sub(r"\D", "", text)
                if key not in digits:
                    digits[key] = "".join(
                        self._random.choice("123456789") if i == 0 or s != "0" else "0"
                        for i, s in enumerate(key)
                    )
                fresh = iter(digits[key])
                text = (
                    "".join(
                        next(fresh) if sign.isdigit() and sign.isascii() else sign for sign in text
                    )
                    if key.isascii()
                    else text
                )
            out.append(replace(piece, text=text))
        return out

    def _roughen(self, pieces: list[_Piece]) -> list[_Piece]:
        draw = self._random.random()
        if draw < 0.35:
            return [replace(p, text=p.text.lower()) for p in pieces]
        if draw < 0.45:
            return [replace(p, text=p.text.upper()) for p in pieces]
        out = []
        for piece in pieces:
            text = piece.text
            if piece.tag is None:
                if draw < 0.65:
                    text = re.sub(r"(?<=\w)[.,](?=\s)", "", text)
                elif draw < 0.85:
                    text = self._typo(text)
                else:
                    text = text.replace("\n\n", "\n")
            out.append(replace(piece, text=text))
        return out

    def _typo(self, text: str) -> str:
        words = text.split(" ")
        long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
        for i in self._random.sample(long, min(len(long), 1 + len(long) // 12)):
            word, at = words[i], self._random.randrange(1, len(words[i]) - 2)
            words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        return " ".join(words)


def _pieces(mail: Mail) -> list[_Piece]:
    pieces = []
    done = 0
    for span in mail.spans:
        pieces.append(_Piece(mail.text[done : span.start], None))
        pieces.append(_Piece(mail.text[span.start : span.end], span.tag))
        done = span.end
    return [*pieces, _Piece(mail.text[done:], None)]


def _assemble(mail: Mail, pieces: Sequence[_Piece]) -> Mail:
    text = ""
    spans = []
    renamed: dict[str, str] = {}
    old = [p for p in _pieces(mail) if p.tag]
    for before, piece in zip(old, (p for p in pieces if p.tag), strict=True):
        renamed[" ".join(before.text.split())] = " ".join(piece.text.split())
    for piece in pieces:
        if piece.tag:
            spans.append(Span(len(text), len(text) + len(piece.text), piece.tag))
        text += piece.text
    fields = dict(mail.fields)
    for field in ("accountA", "accountB"):
        value = fields[field]
        if value is not None:
            fields[field] = renamed.get(value, value)
    if fields["amount"] is not None:
        sums = [amount(p.text) for p in pieces if p.tag == "amt"]
        fields["amount"] = next((s for s in sums if s is not None), fields["amount"])
    return Mail(mail.id, text, tuple(spans), fields)


def _short_of(surface: str, whole: str) -> bool:
    return whole.lower().startswith(surface.lower() + " ")


def _like(old: str, new: str) -> str:
    if old.islower():
        return new.lower()
    if old.isupper() and len(old) > 4:
        return new.upper()
    return new
