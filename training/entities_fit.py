"""Fits both passes of the reader: the CRF that finds spans, then the weights that decide roles."""

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
from training.entities_roles import example, fit_gate, fit_roles
from training.markup import Mail

CRF_PARAMS: dict[str, Any] = {"c1": 0.1, "c2": 0.1, "max_iterations": 50, "min_freq": 2}
ROLES_PARAMS: dict[str, float] = {"strength": 9.0, "gate_cost": 5.0, "gate_threshold": 0.58}

_FIELDS: tuple[Field, ...] = ("amount", "currency", "accountA", "accountB")
_HALVES_ITERATIONS = 30  # they only have to err as the whole one does
_INJECTED = 0.05  # the probability a right name is given that the first pass did not see

Found = tuple[list[TokenSpan], list[TokenSpan]]


@dataclass(frozen=True)
class Fitted:
    """The native CRF and what the second pass learnt on top of it."""

    crf: Any
    weights: dict[str, Any]
    calibration: dict[str, list[float]]


def featurize(mails: Sequence[Mail]) -> tuple[list[list[list[str]]], list[list[str]]]:
    """For every mail its tokens' features, and its tokens' tags."""
    rows, tags = [], []
    for mail in mails:
        tokens = tokenize(mail.text)
        rows.append(token_features(mail.text, tokens))
        tags.append(tag(mail, tokens))
    return rows, tags


def fit(mails: Sequence[Mail], seed: int) -> Fitted:
    """The reader fitted on `mails`.

    The second pass learns from spans that the first pass found in mail it had not seen: two halves,
    each read by a CRF fitted on the other, while the CRF that is kept is fitted on all.
    """
    order = np.random.default_rng(seed).permutation(len(mails))
    halves = [sorted(order[0::2].tolist()), sorted(order[1::2].tolist())]
    jobs = [
        ([mails[i] for i in learn], [mails[i] for i in read])
        for learn, read in (halves, halves[::-1])
    ]
    # Fresh processes: a fork would copy a process that has threads.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(lay_out_unseen, learn, read) for learn, read in jobs]
        crf = CRF(algorithm="lbfgs", **CRF_PARAMS)
        crf.fit(*featurize([mail for mail in mails if tokenize(mail.text)]))
        laid_out: dict[int, Case] = {}
        for half, result in zip(halves[::-1], waiting, strict=True):
            laid_out.update(zip(half, result.result(), strict=True))
        cases = [laid_out[i] for i in range(len(mails))]
        weights = pool.submit(weigh, mails, cases, 80)
        calibration = _calibrate(mails, cases, halves)
        return Fitted(crf, weights.result(), calibration)


def lay_out_unseen(learn: Sequence[Mail], read: Sequence[Mail]) -> list[Case]:
    """The cases that come of the spans which a CRF fitted on `learn` finds in `read`."""
    return [
        lay_out(mail.text, tokens, spans, _with_right_names(mail, tokens, spans, near))
        for mail, (spans, near) in zip(read, _read_unseen(learn, read), strict=True)
        for tokens in [tokenize(mail.text)]
    ]


def _read_unseen(learn: Sequence[Mail], read: Sequence[Mail]) -> list[Found]:
    trainer = pycrfsuite.Trainer(algorithm="lbfgs", verbose=False)
    halved = {**CRF_PARAMS, "max_iterations": _HALVES_ITERATIONS}
    named = {"feature.minfreq" if n == "min_freq" else n: v for n, v in halved.items()}
    trainer.set_params(named)
    for rows, tags in zip(*featurize(learn), strict=True):
        if rows:
            trainer.append(pycrfsuite.ItemSequence(rows), tags)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "half.crfsuite"
        trainer.train(str(path))
        tagger = Tagger(path)
    return [tagger.read(token_features(mail.text, tokenize(mail.text))) for mail in read]


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


def weigh(mails: Sequence[Mail], cases: Sequence[Case], iterations: int) -> dict[str, Any]:
    """The second pass's weights, as roles.json has them."""
    examples = [
        found
        for mail, case in zip(mails, cases, strict=True)
        if mail.asks_for_payment
        for found in [example(case, mail)]
        if found is not None
    ]
    return {
        **fit_roles(examples, ROLES_PARAMS["strength"], iterations),
        **fit_gate(cases, [mail.asks_for_payment for mail in mails], ROLES_PARAMS["gate_cost"]),
        "gate_threshold": ROLES_PARAMS["gate_threshold"],
    }


def _calibrate(
    mails: Sequence[Mail], cases: Sequence[Case], halves: Sequence[Sequence[int]]
) -> dict[str, list[float]]:
    """For every field the line on the log-odds that fits how often its answers are right, on mail
    that the weights had not seen.
    """
    shares: dict[Field, list[float]] = {field: [] for field in _FIELDS}
    right: dict[Field, list[bool]] = {field: [] for field in _FIELDS}
    plain = Calibration({})
    for learn, read in (halves, halves[::-1]):
        known = [mails[i] for i in learn], [cases[i] for i in learn]
        roles = Roles(weigh(*known, iterations=50))
        for i in read:
            answer = reading(cases[i], roles.decide(cases[i]), roles.threshold, plain)
            for field in _FIELDS:
                shares[field].append(log_odds(getattr(answer.confidence, field)))
                right[field].append(same(field, getattr(answer, field), mails[i].fields[field]))
    lines: dict[str, list[float]] = {}
    for field in _FIELDS:
        if len(set(right[field])) == 2:
            line = LogisticRegression(C=100.0).fit(np.c_[shares[field]], right[field])
            lines[field] = [round(float(line.coef_[0, 0]), 4), round(float(line.intercept_[0]), 4)]
    return lines
