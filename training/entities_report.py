"""What people look at after training a reader: figures by label, plots, errors, the model card."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from paydesk.entities.evaluation import FIELDS, same
from paydesk.entities.reader import Reader
from paydesk.entities.schema import Reading
from paydesk.entities.tagger import join
from paydesk.entities.tokens import tokenize
from training.alignment import tag
from training.markup import Mail

_KINDS = ("PER", "ORG", "SUM", "CUR", "DATE", "REF")
_STRONGEST = 30
_BARS = 10


@dataclass(frozen=True)
class Report:
    """Metrics, plots and tables of one reader on held-out mail."""

    metrics: dict[str, float]
    plots: dict[str, Figure]
    tables: dict[str, pd.DataFrame]


def report(reader: Reader, crf: Any, mails: Sequence[Mail]) -> Report:
    """The report on `mails`, which the reader was not fitted on."""
    answers = [reader.read(mail.text) for mail in mails]
    tags = [reader.tags(mail.text) for mail in mails]
    gold = [tag(mail, tokenize(mail.text)) for mail in mails]
    counts = _count_spans(tags, gold)
    calibration = _calibration(answers, mails)
    return Report(
        metrics={**_span_metrics(counts), "calibration_error": calibration[1]},
        plots={
            "transitions": _transitions(crf),
            "state_features": _state_features(crf),
            "errors_by_label": _errors_by_label(counts),
            "confusion": _confusion(tags, gold),
            "calibration": calibration[0],
        },
        tables={"errors": _errors(answers, mails)},
    )


def _count_spans(
    tags: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]
) -> dict[str, Counter[str]]:
    counts = {kind: Counter[str]() for kind in _KINDS}
    for mine, right in zip(tags, gold, strict=True):
        found, wanted = set(join(mine)), set(join(right))
        for span in found & wanted:
            counts[span[2]]["right"] += 1
        for span in found - wanted:
            counts[span[2]]["false"] += 1
        for span in wanted - found:
            counts[span[2]]["missed"] += 1
    return counts


def _span_metrics(counts: Mapping[str, Counter[str]]) -> dict[str, float]:
    metrics = {}
    for kind, count in counts.items():
        right, false, missed = count["right"], count["false"], count["missed"]
        metrics[f"span_{kind}_precision"] = right / max(right + false, 1)
        metrics[f"span_{kind}_recall"] = right / max(right + missed, 1)
        metrics[f"span_{kind}_f1"] = 2 * right / max(2 * right + false + missed, 1)
    return metrics


def _transitions(crf: Any) -> Figure:
    strongest = sorted(crf.transition_features_.items(), key=lambda item: -abs(item[1]))
    return _bars(
        "Strongest transitions",
        [(f"{a} → {b}", weight) for (a, b), weight in strongest[:_STRONGEST]],
    )


def _state_features(crf: Any) -> Figure:
    strongest = sorted(crf.state_features_.items(), key=lambda item: -abs(item[1]))
    return _bars(
        "Strongest state features",
        [(f"{name}  {label}", weight) for (name, label), weight in strongest[:_STRONGEST]],
    )


def _bars(title: str, rows: Sequence[tuple[str, float]]) -> Figure:
    figure = Figure(figsize=(8, 0.26 * len(rows) + 1))
    axes = figure.add_subplot()
    names = [repr(name)[1:-1].replace("$", r"\$") for name, _ in reversed(rows)]
    axes.barh(range(len(rows)), [weight for _, weight in reversed(rows)])
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    axes.set(title=title, xlabel="weight")
    return figure


def _errors_by_label(counts: Mapping[str, Counter[str]]) -> Figure:
    figure = Figure(figsize=(7, 4))
    axes = figure.add_subplot()
    bottom = np.zeros(len(counts))
    for outcome in ("right", "missed", "false"):
        heights = np.array([count[outcome] for count in counts.values()])
        axes.bar(list(counts), heights, bottom=bottom, label=outcome)
        bottom += heights
    axes.set(title="Spans by label, on held-out mail", ylabel="spans")
    axes.legend()
    return figure


def _confusion(tags: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> Figure:
    names = [*_KINDS, "O"]
    table = np.zeros((len(names), len(names)))
    for mine, right in zip(tags, gold, strict=True):
        for one, other in zip(mine, right, strict=True):
            row, column = other[2:] or "O", one[2:] or "O"
            table[names.index(row), names.index(column)] += 1
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6, 5))
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(*table.shape):
        if table[i, j]:
            axes.text(j, i, str(int(table[i, j])), ha="center", va="center", fontsize=8)
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set(title="Tokens: annotated (rows) and tagged (columns)")
    return figure


def _calibration(answers: Sequence[Reading], mails: Sequence[Mail]) -> tuple[Figure, float]:
    sure = np.array([getattr(a.confidence, field) for a in answers for field in FIELDS])
    right = np.array(
        [
            same(field, getattr(answer, field), mail.fields[field])
            for answer, mail in zip(answers, mails, strict=True)
            for field in FIELDS
        ],
        dtype=float,
    )
    figure = Figure(figsize=(5, 5))
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], linestyle="--", color="grey")
    error = 0.0
    points = []
    for low in np.arange(_BARS) / _BARS:
        inside = (sure >= low) & (sure < low + 1 / _BARS + (1e-9 if low > 0.85 else 0))
        if inside.any():
            points.append((sure[inside].mean(), right[inside].mean(), int(inside.sum())))
            error += abs(points[-1][0] - points[-1][1]) * inside.mean()
    axes.plot([p[0] for p in points], [p[1] for p in points], marker="o")
    for said, was, count in points:
        axes.annotate(str(count), (said, was), textcoords="offset points", xytext=(4, -10))
    axes.set(title="Fields: said and right", xlabel="confidence", ylabel="share right")
    return figure, float(error)


def _errors(answers: Sequence[Reading], mails: Sequence[Mail]) -> pd.DataFrame:
    rows = [
        {
            "mail": mail.id,
            "field": field,
            "right": mail.fields[field],
            "read": getattr(answer, field),
            "confidence": getattr(answer.confidence, field),
        }
        for answer, mail in zip(answers, mails, strict=True)
        for field in FIELDS
        if not same(field, getattr(answer, field), mail.fields[field])
    ]
    return pd.DataFrame(rows, columns=["mail", "field", "right", "read", "confidence"])


def card(metrics: Mapping[str, float], source: str, mails: int, held_out: int, seed: int) -> str:
    """The model card, in Markdown."""
    figures = "\n".join(f"| {name} | {value:.3f} |" for name, value in metrics.items())
    return f"""# entities: the reader of payment e-mails

Reads amount, currency, accountA (who is paid) and accountB (whose money it is) from an e-mail in
English as people of many countries write it; leaves all four empty when the mail asks for no
payment.

**How.** A CRF (CRFsuite) finds names, sums, currency marks, dates and references; a log-linear
model over whole forms decides which are payee, payer and sum; a gate decides whether anything is
asked. No pickle: the serving form is `tagger.crfsuite` and JSON.

**Data.** {source}: {mails} mails to learn from, {held_out} held out (other mails altogether,
never sentences of the same ones). Seed {seed}.

**Meant for** filling a form that a person confirms. **Not meant for** paying without a person's
look, for other languages than English, or as a detector of fraud.

**Known weaknesses.** Names in all-lower-case mail, payers only hinted at, sums that must be worked
out, mail that promises or reports money without the usual words.

| figure, on held-out mail | |
| --- | --- |
{figures}
"""
