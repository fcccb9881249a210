"""How fast mail is tagged and read, beside sklearn-crfsuite fed with dicts, in one run.

    python -m benchmarks.reading            # fits a small model first, about half a minute
    python -m benchmarks.reading FOLDER     # with a serving form at hand

Both sides tag the same mail with the same model and the same features on one core. sklearn-crfsuite
gets them as one dict a token, made anew for every mail as its documentation shows; Paydesk as lists
of strings that it keeps by word.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pycrfsuite

from benchmarks import report
from paydesk.entities import features
from paydesk.entities.features import token_features
from paydesk.entities.reader import TAGGER, Reader
from paydesk.entities.tagger import Tagger
from paydesk.entities.tokens import tokenize
from training.emails import load_corpus
from training.entities_fit import fit
from training.markup import load_marked
from training.train_entities import HELD_OUT, write_serving_form

_ROUNDS = 5
_PEER = "sklearn-crfsuite's way, dicts"
_TAGGING = "Paydesk, tagging"
_CACHES = (
    features._own,
    features._neighbour,
    features.shape,
    features.word_classes,
    features.kind,
)


def main() -> None:
    texts = [mail.text for mail in load_marked(HELD_OUT)]
    with tempfile.TemporaryDirectory() as scratch:
        if len(sys.argv) > 1:
            folder = Path(sys.argv[1])
        else:
            folder = Path(scratch) / "serving"
            mails = load_corpus()
            write_serving_form(fit(mails[::3], seed=1), mails[1::60], folder)
        reader, tagger = Reader.load(folder), Tagger(folder / TAGGER)
        peer = pycrfsuite.Tagger()  # what sklearn-crfsuite's CRF.predict calls for every mail
        peer.open(str(folder / TAGGER))

        def with_dicts(text: str) -> object:
            for cache in _CACHES:
                cache.cache_clear()
            rows = token_features(text, tokenize(text))
            return peer.tag([dict.fromkeys(row, 1.0) for row in rows])

        def with_strings(text: str) -> object:
            return tagger.tags(token_features(text, tokenize(text)))

        if any(with_dicts(text) != with_strings(text) for text in texts):
            raise SystemExit("The two sides tag differently: what follows would compare nothing.")
        tokens = sum(len(tokenize(text)) for text in texts)
        slow = _seconds(with_dicts, texts)
        fast = _seconds(with_strings, texts)
        whole = _seconds(reader.read, texts)
        long = (max(texts, key=len) * 2)[:2000]
        single = _seconds(reader.read, [long])
    print(f"{len(texts)} mails, {tokens} tokens, best of {_ROUNDS}, CPU time of one core")
    took = {_PEER: slow, _TAGGING: fast, "Paydesk, the whole reading": whole}
    report.table(
        ("what, on one core", "tokens/s", "ratio"),
        [[name, f"{tokens / s:,.0f}", f"{slow / s:.1f}"] for name, s in took.items()],
    )
    rates = {name: tokens / s for name, s in took.items()}
    report.keep("reading", {"tokens a second": rates, "ms of 2,000 characters": single * 1e3})
    report.bars("reading", "Tagging and reading, one core", "tokens a second", rates, _TAGGING)
    print(f"\nOne mail of 2,000 characters, the whole reading: {single * 1000:.1f} ms")


def _seconds(work: Callable[[str], object], texts: list[str]) -> float:
    best = float("inf")
    for _ in range(_ROUNDS):
        start = time.process_time()
        for text in texts:
            work(text)
        best = min(best, time.process_time() - start)
    return best


if __name__ == "__main__":
    main()
