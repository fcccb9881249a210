"""Tags tokens with a CRFsuite model, and joins the tags to spans with their probabilities."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, cast

import pycrfsuite

from paydesk.serving_form import ServingFormError


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
        tags: list[str] = tagger.tag()
        return [
            TokenSpan(
                first, last, kind, min(tagger.marginal(tags[i], i) for i in range(first, last + 1))
            )
            for first, last, kind in join(tags)
        ]

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
