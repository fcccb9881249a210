"""The forest as scikit-learn's own object, on one thread."""

import os
from typing import Any

import numpy as np
from skops.io import load

FOREST: Any = load(os.environ["BENCH_NATIVE"], trusted=["sklearn.tree._tree.Tree"])
FOREST.n_jobs = 1


def probability(row: list[float]) -> float:
    """P(fraud) of one transaction."""
    return float(FOREST.predict_proba(np.array([row], dtype=np.float32))[0, 1])
