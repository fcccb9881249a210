"""Fits the weights by which roles are decided, on mail whose right form is known."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from paydesk.entities.case import Case, Option, overlap
from paydesk.entities.evaluation import same
from paydesk.entities.roles import TABLES, none_evidence
from training.markup import Mail

_LEAST = 0.01  # Three weights of five are smaller; all together they decide nothing on dev.
_ROUNDED = 4
_CERTAIN = 6.0  # in log-odds

# Evidence that is dear to come by weighs more: a larger value is a smaller penalty.
_SIZES = {
    "phrase": 6.0,
    **dict.fromkeys(
        ("near", "q", "maxq", "greeted", "signs", "called", "nearest", "same", "order"), 2.0
    ),
}
_GATE_SIZES = {"phrase": 2.0}

Vector = NDArray[np.float64]


@dataclass
class Example:
    """A mail that asks for a payment, as the model sees it, with the indices of the right form.

    The last option of each list is "none".
    """

    parties: list[frozenset[str]]
    sums: list[frozenset[str]]
    pairs: list[tuple[int, int, set[str]]] = field(default_factory=list)
    shares: list[tuple[int, int, set[str]]] = field(default_factory=list)
    none_party: frozenset[str] = frozenset()
    payee: int = 0
    payer: int = 0
    amount: int = 0


def example(case: Case, mail: Mail) -> Example | None:
    """The example that a mail makes; None when its right form is not among the options."""
    payee = _find(case.parties, "accountA", mail)
    payer = _find(case.parties, "accountB", mail)
    amount = _find(case.sums, "amount", mail)
    if payee is None or payer is None or amount is None:
        return None
    parties: list[Option | None] = [*case.parties, None]
    one, other = parties[payee], parties[payer]
    if one is not None and other is not None and overlap(one, other):
        return None
    amounts: list[Option | None] = [*case.sums, None]
    built = Example(
        [*(p.evidence for p in case.parties), frozenset(none_evidence(case, "parties"))],
        [*(s.evidence for s in case.sums), frozenset(none_evidence(case, "sums"))],
        payee=payee,
        payer=payer,
        amount=amount,
    )
    for i, first in enumerate(parties):
        for j, second in enumerate(parties):
            if first is None or second is None or not overlap(first, second):
                built.pairs.append((i, j, case.pair(first, second)))
        for j, sum_ in enumerate(amounts):
            built.shares.append((i, j, case.share(first, sum_)))
    return built


def _find(options: Sequence[Option], name: str, mail: Mail) -> int | None:
    right = mail.fields[name]
    if right is None:
        return len(options)
    return next((i for i, o in enumerate(options) if same(name, o.value, right)), None)


def fit_roles(
    examples: Sequence[Example], strength: float, rarest: int, iterations: int
) -> dict[str, Any]:
    """The weights, by table and feature, that make the right forms most probable; `strength` is
    that of the L2 penalty, and what is seen less often than `rarest` has no weight.
    """
    if not examples:
        return {name: {} for name in TABLES}
    layout = _Layout(examples, rarest)
    found = minimize(
        layout.loss,
        np.zeros(layout.size),
        args=(strength,),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": iterations},
    )
    return layout.named(found.x)


class _Matrix:
    """Rows of features as a sparse matrix, its columns starting at `offset` of the weights."""

    def __init__(self, rows: Sequence[Iterable[str]], offset: int, rarest: int) -> None:
        counts = Counter(name for row in rows for name in row)
        names = sorted(name for name, count in counts.items() if count >= rarest)
        self.columns = {name: i for i, name in enumerate(names)}
        ends, places = [0], []
        for row in rows:
            places += sorted(self.columns[name] for name in row if name in self.columns)
            ends.append(len(places))
        self.sizes = np.array([_SIZES.get(name.split("=")[0], 1.0) for name in names])
        shape = (len(rows), len(names))
        self.rows = csr_matrix((self.sizes[places], places, ends), shape=shape)
        self.turned = self.rows.T.tocsr()
        self.slice = slice(offset, offset + len(names))


class _Layout:
    def __init__(self, examples: Sequence[Example], rarest: int) -> None:
        party_rows: list[Iterable[str]] = []
        sum_rows: list[Iterable[str]] = []
        pair_rows: list[Iterable[str]] = []
        share_rows: list[Iterable[str]] = []
        starts, pair_a, pair_b, share_a, share_m = [], [], [], [], []
        gold_a, gold_b, gold_m, gold_pair, gold_share = [], [], [], [], []
        for e in examples:
            base, sums = len(party_rows), len(sum_rows)
            starts.append(base)
            party_rows += e.parties
            sum_rows += e.sums
            gold_a.append(base + e.payee)
            gold_b.append(base + e.payer)
            gold_m.append(sums + e.amount)
            for i, j, evidence in e.pairs:
                if (i, j) == (e.payee, e.payer):
                    gold_pair.append(len(pair_rows))
                pair_rows.append(evidence)
                pair_a.append(base + i)
                pair_b.append(base + j)
            for i, j, evidence in e.shares:
                if (i, j) == (e.payee, e.amount):
                    gold_share.append(len(share_rows))
                share_rows.append(evidence)
                share_a.append(base + i)
                share_m.append(sums + j)
        rows = (party_rows, party_rows, sum_rows, pair_rows, share_rows)
        self.tables: dict[str, _Matrix] = {}
        self.size = 0
        for name, table in zip(TABLES, rows, strict=True):
            self.tables[name] = _Matrix(table, self.size, rarest)
            self.size = self.tables[name].slice.stop
        self.starts = np.array(starts)
        self.mail_of = np.repeat(np.arange(len(examples)), np.diff([*starts, len(party_rows)]))
        self.pair_a, self.pair_b = np.array(pair_a), np.array(pair_b)
        self.share_a, self.share_m = np.array(share_a), np.array(share_m)
        self.gold = tuple(map(np.array, (gold_a, gold_b, gold_m, gold_pair, gold_share)))

    def loss(self, weights: Vector, strength: float) -> tuple[float, Vector]:
        scores = {n: t.rows @ weights[t.slice] for n, t in self.tables.items()}
        pair = scores["pair"] + scores["payer"][self.pair_b]
        share = scores["share"] + scores["amount"][self.share_m]
        pair_sum, pair_part = _soften(pair, self.pair_a)
        share_sum, share_part = _soften(share, self.share_a)
        payee_sum, payee_part = _soften(scores["payee"] + pair_sum + share_sum, self.mail_of)
        gold_a, gold_b, gold_m, gold_pair, gold_share = self.gold
        right = (
            scores["payee"][gold_a]
            + scores["payer"][gold_b]
            + scores["amount"][gold_m]
            + scores["pair"][gold_pair]
            + scores["share"][gold_share]
        )
        value = float((payee_sum - right).sum() + 0.5 * strength * (weights @ weights))
        pair_weight = pair_part * payee_part[self.pair_a]
        share_weight = share_part * payee_part[self.share_a]
        pulls = {
            "payee": payee_part.copy(),
            "payer": np.bincount(self.pair_b, pair_weight, len(payee_part)),
            "amount": np.bincount(self.share_m, share_weight, len(scores["amount"])),
            "pair": pair_weight,
            "share": share_weight,
        }
        for name, places in zip(TABLES, self.gold, strict=True):
            pulls[name][places] -= 1
        gradient = strength * weights
        for name, table in self.tables.items():
            gradient[table.slice] += table.turned @ pulls[name]
        return value, gradient

    def named(self, weights: Vector) -> dict[str, Any]:
        return {
            name: {
                feature: round(weight, _ROUNDED)
                for feature, i in table.columns.items()
                if abs(weight := float(weights[table.slice.start + i] * table.sizes[i])) >= _LEAST
            }
            for name, table in self.tables.items()
        }


def _soften(scores: Vector, group: NDArray[np.int64]) -> tuple[Vector, Vector]:
    """For scores in consecutive groups: each group's log of the sum of exponentials, and each
    score's share in it.
    """
    starts = np.flatnonzero(np.r_[True, np.diff(group) > 0])
    sizes = np.diff(np.r_[starts, len(scores)])
    top = np.maximum.reduceat(scores, starts)
    raised = np.exp(scores - np.repeat(top, sizes))
    total = np.add.reduceat(raised, starts)
    return top + np.log(total), raised / np.repeat(total, sizes)


def fit_gate(
    cases: Sequence[Case], asks: Sequence[bool], cost: float, rarest: int
) -> dict[str, Any]:
    """The weights of the gate: whether a mail asks for a payment at all. What fewer than `rarest`
    mails have is no evidence.
    """
    if len(set(asks)) < 2:  # mail of one sort only: nothing to tell apart
        return {"gate": {}, "gate_bias": _CERTAIN if any(asks) else -_CERTAIN}
    words = TfidfVectorizer(analyzer=lambda c: sorted(c.evidence), min_df=rarest)
    rows = words.fit_transform(cases)
    names = words.get_feature_names_out()
    sizes = np.array([_GATE_SIZES.get(name.split("=")[0], 1.0) for name in names])
    model = LogisticRegression(C=cost, class_weight="balanced", max_iter=1000)
    model.fit(rows.multiply(sizes).tocsr(), np.array(asks))
    weights = model.coef_[0] * sizes
    return {
        "gate": {
            str(name): [round(float(rarity), _ROUNDED), round(float(weight), _ROUNDED)]
            for name, rarity, weight in zip(names, words.idf_, weights, strict=True)
        },
        "gate_bias": float(model.intercept_[0]),
    }
