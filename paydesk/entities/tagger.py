"""Tags tokens with a CRFsuite model, and joins the tags to spans with their probabilities."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import pycrfsuite

from paydesk.serving_form import ServingFormError

NAMES = ("PER", "ORG")

_NEAR = 0.04
_LONGEST_NAME = 14  # tokens


class TokenSpan(NamedTuple):
    """A found span over tokens `first` to `last`, the last one included."""

    first: int
    last: int
    kind: str
    probability: float


class Tagger:
    """A CRFsuite model in memory. A CRFsuite tagger holds the state of the mail it reads, so every
    thread gets one of its own over the same bytes.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._model = path.read_bytes()
        except OSError as error:
            message = f"{path} cannot be read ({error.strerror}); pull the entities model again."
            raise ServingFormError(message) from error
        self._path = path
        self._local = threading.local()

    def tags(self, rows: Sequence[Sequence[str]]) -> list[str]:
        """The most probable sequence of tags, one a row of features."""
        if not rows:
            return []
        return cast(list[str], self._tagger().tag(pycrfsuite.ItemSequence(rows)))

    def spans(self, rows: Sequence[Sequence[str]]) -> list[TokenSpan]:
        """The spans of the most probable tags; a span is as probable as its least sure token."""
        if not rows:
            return []
        tagger = self._tagger()
        tagger.set(pycrfsuite.ItemSequence(rows))
        return _spans(tagger, tagger.tag())

    def read(self, rows: Sequence[Sequence[str]]) -> tuple[list[TokenSpan], list[TokenSpan]]:
        """The spans of the most probable tags, and the other names that the tags nearly spell:
        longer or shorter ones, and such as were just not found.
        """
        if not rows:
            return [], []
        tagger = self._tagger()
        tagger.set(pycrfsuite.ItemSequence(rows))
        spans = _spans(tagger, tagger.tag())
        known = {(span.first, span.last) for span in spans if span.kind in NAMES}
        others = [s for s in _near_names(tagger, len(rows)) if (s.first, s.last) not in known]
        return spans, others

    def _tagger(self) -> "pycrfsuite.Tagger":
        tagger = getattr(self._local, "tagger", None)
        if tagger is None:
            tagger = pycrfsuite.Tagger()
            try:
                tagger.open_inmemory(self._model)
            except ValueError as error:
                message = f"{self._path} is no CRFsuite model; pull the entities model again."
                raise ServingFormError(message) from error
            self._local.tagger = tagger
        return tagger


def _spans(tagger: "pycrfsuite.Tagger", tags: list[str]) -> list[TokenSpan]:
    return [
        TokenSpan(
            first, last, kind, min(tagger.marginal(tags[i], i) for i in range(first, last + 1))
        )
        for first, last, kind in join(tags)
    ]


def _near_names(tagger: "pycrfsuite.Tagger", count: int) -> list[TokenSpan]:
    """Every stretch that is a name with a probability worth a second look."""
    known = set(tagger.labels())
    kinds = [kind for kind in NAMES if f"B-{kind}" in known]
    inner = [f"I-{kind}" for kind in kinds if f"I-{kind}" in known]
    marginal = tagger.marginal
    begin: list[list[float]] = []
    go_on: list[float] = []
    for i in range(count):
        if "O" in known and marginal("O", i) > 1 - _NEAR / 2:  # no name here: most tokens
            begin.append([0.0])
            go_on.append(0.0)
        else:
            begin.append([marginal(f"B-{kind}", i) for kind in kinds])
            go_on.append(sum([marginal(tag, i) for tag in inner]))
    go_on.append(0.0)
    found = []
    for first, shares in enumerate(begin):
        so_far = sum(shares)
        last = first
        while so_far >= _NEAR and last - first < _LONGEST_NAME:
            whole = so_far * (1 - min(1.0, go_on[last + 1]))
            if whole > _NEAR:
                kind = kinds[shares.index(max(shares))]
                found.append(TokenSpan(first, last, kind, whole))
            last += 1
            if last == count:
                break
            so_far = min(so_far, go_on[last])
    return found


def join(tags: Sequence[str]) -> list[tuple[int, int, str]]:
    """The spans (first, last, kind) that BIO tags spell; a stray I- begins a span of its own."""
    spans: list[tuple[int, int, str]] = []
    open_at: int | None = None
    for place, tag in enumerate([*tags, "O"]):
        kind = tag[2:]
        if open_at is not None and not (tag[0] == "I" and kind == tags[open_at][2:]):
            spans.append((open_at, place - 1, tags[open_at][2:]))
            open_at = None
        if open_at is None and tag != "O":
            open_at = place
    return spans
