"""Plain BentoML with scikit-learn: one at a time, and in batches that BentoML gathers."""

from typing import Any

import bentoml
import numpy as np
from forest_sklearn import FOREST, probability
from transaction import answer, features


@bentoml.service(name="plain")
class Plain:
    """As the documentation's first example."""

    @bentoml.api(route="/score")
    def score(self, tx: dict[str, Any]) -> dict[str, Any]:
        """The forest's answer."""
        return answer(tx, probability(features(tx)))


@bentoml.service(name="gathering")  # "batching" is a word of its settings
class Batching:
    """As the documentation's page about batches."""

    @bentoml.api(route="/score", batchable=True, max_batch_size=64, max_latency_ms=1000)
    def score(self, tx: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The forest's answers."""
        rows = np.array([features(one) for one in tx], dtype=np.float32)
        found = FOREST.predict_proba(rows)[:, 1]
        return [answer(one, float(p)) for one, p in zip(tx, found, strict=True)]
