"""Decides who is paid, who pays and how much: a log-linear model over whole forms.

A form's score is the sum of the payee's, the payer's and the sum's own scores and of two relations,
payer to payee and sum to payee. With the payee given, payer and sum are independent, so that the
best form and every marginal probability are exact and cheap.
"""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from paydesk.entities.case import Case, overlap
from paydesk.serving_form import ServingFormError

TABLES = ("payee", "payer", "amount", "pair", "share")

Vector = NDArray[np.float64]


class Decision(NamedTuple):
    """Indices into the case's options (-1 for none), and the probabilities behind them.

    The vectors hold one probability an option, that of none last; they suppose that the mail asks
    for a payment, which it does with probability `asks`.
    """

    asks: float
    payee: int
    payer: int
    amount: int
    payees: Vector
    payers: Vector
    amounts: Vector


class Roles:
    """The weights of the model, by table and feature."""

    threshold: float  # below it a mail is taken to ask for no payment

    def __init__(self, weights: Mapping[str, Any]) -> None:
        self._tables: dict[str, dict[str, float]] = {name: weights[name] for name in TABLES}
        self._gate: dict[str, list[float]] = weights["gate"]
        self._gate_bias: float = weights["gate_bias"]
        self.threshold = float(weights["gate_threshold"])

    @classmethod
    def load(cls, path: Path) -> "Roles":
        """The weights in the JSON file `path`."""
        try:
            return cls(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError) as error:
            message = f"{path} cannot be read ({error!r}); pull the entities model again."
            raise ServingFormError(message) from error

    def asks(self, evidence: Iterable[str]) -> float:
        """How probably the mail asks for a payment at all."""
        known = [self._gate[name] for name in evidence if name in self._gate]
        length = math.sqrt(math.fsum([rarity * rarity for rarity, _ in known])) or 1.0
        score = self._gate_bias + math.fsum([r * weight for r, weight in known]) / length
        return 1 / (1 + math.exp(-score))

    def decide(self, case: Case) -> Decision:
        """The most probable form of a mail."""
        parties = [*case.parties, None]
        amounts = [*case.sums, None]
        payee = np.array([self._score("payee", _evidence(case, p, "parties")) for p in parties])
        payer = np.array([self._score("payer", _evidence(case, p, "parties")) for p in parties])
        amount = np.array([self._score("amount", _evidence(case, s, "sums")) for s in amounts])
        # Options that lay claim to the same places stand in the same relations.
        pairs: dict[Any, float] = {}
        shares: dict[Any, float] = {}
        pair = np.full((len(parties), len(parties)), -np.inf)
        share = np.empty((len(parties), len(amounts)))
        for i, one in enumerate(parties):
            here = one.places if one else None
            for j, other in enumerate(parties):
                if one is None or other is None or not overlap(one, other):
                    key = (here, other.places if other else None)
                    if key not in pairs:
                        pairs[key] = self._score("pair", case.pair(one, other))
                    pair[i, j] = pairs[key]
            for j, sum_ in enumerate(amounts):
                if (here, j) not in shares:
                    shares[here, j] = self._score("share", case.share(one, sum_))
                share[i, j] = shares[here, j]
        return _solve(
            self.asks(case.evidence),
            self.threshold,
            payee,
            payer[None, :] + pair,
            amount[None, :] + share,
        )

    def _score(self, table: str, evidence: Iterable[str]) -> float:
        get = self._tables[table].get
        return math.fsum([get(name, 0.0) for name in evidence])  # whatever the order, the same


def none_evidence(case: Case, of: str) -> set[str]:
    """What speaks for a field's staying empty."""
    count = len(case.parties if of == "parties" else case.sums)
    kept = ("cue=", "names=", "sums=", "size=", "zone=")
    return {"none", f"none-of={min(count, 5)}"} | {
        f"none|{name}" for name in case.evidence if name.startswith(kept)
    }


def _evidence(case: Case, option: Any, of: str) -> Iterable[str]:
    return none_evidence(case, of) if option is None else option.evidence


def _solve(asks: float, threshold: float, payee: Vector, payer: Vector, amount: Vector) -> Decision:
    payer_sum, amount_sum = _log_sum(payer), _log_sum(amount)
    whole = payee + payer_sum + amount_sum
    payees = np.exp(whole - _log_sum(whole[None, :])[0])
    payers = payees @ np.exp(payer - payer_sum[:, None])
    amounts = payees @ np.exp(amount - amount_sum[:, None])
    if asks < threshold:
        return Decision(asks, -1, -1, -1, payees, payers, amounts)
    best = int(np.argmax(payee + payer.max(axis=1) + amount.max(axis=1)))
    chosen = (best, int(payer[best].argmax()), int(amount[best].argmax()))
    sizes = (len(payees) - 1, len(payers) - 1, len(amounts) - 1)
    first, second, third = (-1 if c == none else c for c, none in zip(chosen, sizes, strict=True))
    return Decision(asks, first, second, third, payees, payers, amounts)


def _log_sum(scores: Vector) -> Vector:
    top = scores.max(axis=1)
    total: Vector = top + np.log(np.exp(scores - top[:, None]).sum(axis=1))
    return total
