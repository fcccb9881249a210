"""Fits both passes of the reader: the CRF that finds spans, then the weights that decide roles."""

import gc
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pycrfsuite
from sklearn.linear_model import LogisticRegression
from sklearn_crfsuite import CRF

from paydesk.entities.calibration import Calibration, log_odds
from paydesk.entities.case import Case, lay_out
from paydesk.entities.evaluation import same
from paydesk.entities.features import token_features
from paydesk.entities.reader import reading
from paydesk.entities.roles import Roles
from paydesk.entities.schema import Field
from paydesk.entities.tagger import Tagger, TokenSpan
from paydesk.entities.tokens import Token, tokenize
from training.alignment import tag
from training.entities_roles import Example, example, fit_gate, fit_roles
from training.markup import Mail

CRF_PARAMS: dict[str, Any] = {"c1": 0.1, "c2": 0.1, "max_iterations": 50, "min_freq": 2}
ROLES_PARAMS: dict[str, float] = {"strength": 9.0, "gate_cost": 10.0, "gate_threshold": 0.5}

_FIELDS: tuple[Field, ...] = ("amount", "currency", "accountA", "accountB")
_HALVES_ITERATIONS = 30  # they only have to err as the whole one does
_MOST_OF_A_HALF = 4_000  # mails: more of them take minutes and change little
_MANY = 5_000  # mails
_INJECTED = 0.05  # the probability a right name is given that the first pass did not see


@dataclass(frozen=True)
class Fitted:
    """The native CRF and what the second pass learnt on top of it."""

    crf: Any
    weights: dict[str, Any]
    calibration: dict[str, list[float]]


@dataclass(frozen=True)
class Lesson:
    """A mail as the second pass learns from it; no example where it asks for no payment, or where
    its right form is not among the options.
    """

    mail: Mail
    case: Case
    example: Example | None


def featurize(mails: Sequence[Mail]) -> tuple[list[list[list[str]]], list[list[str]]]:
    """For every mail its tokens' features, and its tokens' tags."""
    rows, tags = [], []
    for mail in mails:
        tokens = tokenize(mail.text)
        rows.append(token_features(mail.text, tokens))
        tags.append(tag(mail, tokens))
    return rows, tags


def fit(mails: Sequence[Mail], seed: int) -> Fitted:
    """The reader fitted on `mails`: both passes at the same time, each on a core of its own."""
    # A fresh process: a fork would copy one that has threads. Without the search for cycles, which
    # finds none here: a seventh of its time.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=gc.disable) as pool:
        second = pool.submit(fit_second_pass, mails, seed)
        crf = CRF(algorithm="lbfgs", **CRF_PARAMS)
        rows, tags = featurize([mail for mail in mails if tokenize(mail.text)])
        crf.fit(rows, tags)
        return Fitted(crf, *second.result())


def fit_second_pass(
    mails: Sequence[Mail], seed: int
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """The second pass's weights, as roles.json has them, and the calibration.

    It learns from spans that the first pass found in mail it had not seen: two halves, each read by
    a CRF fitted on mail of the other.
    """
    order = np.random.default_rng(seed).permutation(len(mails))
    halves = [order[0::2].tolist(), order[1::2].tolist()]
    cases = _lay_out_unseen(mails, halves)
    lessons = [
        Lesson(mail, case, example(case, mail) if mail.asks_for_payment else None)
        for mail, case in zip(mails, cases, strict=True)
    ]
    return weigh(lessons, iterations=80), _calibrate(lessons, halves)


def _lay_out_unseen(mails: Sequence[Mail], halves: Sequence[Sequence[int]]) -> list[Case]:
    rows, tags = featurize(mails)
    laid_out: dict[int, Case] = {}
    for half, read in (halves, halves[::-1]):
        learn = half[:_MOST_OF_A_HALF]
        tagger = _fit_half([rows[i] for i in learn], [tags[i] for i in learn])
        for i in read:
            tokens = tokenize(mails[i].text)
            spans, near = tagger.read(rows[i])
            near = _with_right_names(mails[i], tokens, spans, near)
            laid_out[i] = lay_out(mails[i].text, tokens, spans, near)
    return [laid_out[i] for i in range(len(mails))]


def _fit_half(rows: Sequence[list[list[str]]], tags: Sequence[list[str]]) -> Tagger:
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    halved = {**CRF_PARAMS, "max_iterations": _HALVES_ITERATIONS}
    trainer.set_params({"feature.minfreq" if n == "min_freq" else n: v for n, v in halved.items()})
    for mail, labels in zip(rows, tags, strict=True):
        if mail:
            trainer.append(pycrfsuite.ItemSequence(mail), labels)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "half.crfsuite"
        trainer.train(str(path))
        return Tagger(path)


def _with_right_names(
    mail: Mail, tokens: Sequence[Token], spans: Sequence[TokenSpan], near: Sequence[TokenSpan]
) -> list[TokenSpan]:
    # A right name that the first pass missed is still a lesson for the second.
    known = {(span.first, span.last) for span in (*spans, *near)}
    extended = list(near)
    for span in mail.spans:
        if span.tag.startswith(("to_", "from_")):
            inside = [i for i, t in enumerate(tokens) if t.start < span.end and t.end > span.start]
            if (inside[0], inside[-1]) not in known:
                kind = span.tag.rpartition("_")[2].upper()
                extended.append(TokenSpan(inside[0], inside[-1], kind, _INJECTED))
    return extended


def weigh(lessons: Sequence[Lesson], iterations: int) -> dict[str, Any]:
    """The second pass's weights, as roles.json has them."""
    examples = [lesson.example for lesson in lessons if lesson.example is not None]
    cases = [lesson.case for lesson in lessons]
    asks = [lesson.mail.asks_for_payment for lesson in lessons]
    rarest = 3 if len(lessons) >= _MANY else 2  # Of few mails, what two share is much.
    return {
        **fit_roles(examples, ROLES_PARAMS["strength"], rarest, iterations),
        **fit_gate(cases, asks, ROLES_PARAMS["gate_cost"], rarest),
        "gate_threshold": ROLES_PARAMS["gate_threshold"],
    }


def _calibrate(
    lessons: Sequence[Lesson], halves: Sequence[Sequence[int]]
) -> dict[str, list[float]]:
    """For every field the line on the log-odds that fits how often its answers are right, on mail
    that the weights had not seen.
    """
    shares: dict[Field, list[float]] = {field: [] for field in _FIELDS}
    right: dict[Field, list[bool]] = {field: [] for field in _FIELDS}
    plain = Calibration({})
    for learn, read in (halves, halves[::-1]):
        roles = Roles(weigh([lessons[i] for i in learn], iterations=50))
        for lesson in (lessons[i] for i in read):
            case, known = lesson.case, lesson.mail.fields
            answer = reading(case, roles.decide(case), roles.threshold, plain)
            for field in _FIELDS:
                shares[field].append(log_odds(getattr(answer.confidence, field)))
                right[field].append(same(field, getattr(answer, field), known[field]))
    lines: dict[str, list[float]] = {}
    for field in _FIELDS:
        if len(set(right[field])) == 2:
            line = LogisticRegression(C=100.0).fit(np.c_[shares[field]], right[field])
            lines[field] = [round(float(line.coef_[0, 0]), 4), round(float(line.intercept_[0]), 4)]
    return lines
