"""The forest's serving form: an ONNX graph with its encoder and thresholds, and proof of parity."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from paydesk.risk.features import Encoder
from paydesk.risk.transaction import Level
from paydesk.serving_form import ServingFormError

GRAPH = "forest.onnx"
DESCRIPTION = "model.json"
EXAMPLES = "examples.json"
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities at which the forest raises the level; chosen in training."""

    medium: float
    high: float
    critical: float

    def level(self, probability: float) -> Level:
        """The level that the forest alone would give."""
        if probability >= self.critical:
            return Level.CRITICAL
        if probability >= self.high:
            return Level.HIGH
        return Level.MEDIUM if probability >= self.medium else Level.LOW

    def levels(self, probabilities: NDArray[np.float64]) -> NDArray[np.int64]:
        """The same for an array (n,)."""
        floors = np.array([self.medium, self.high, self.critical])
        return np.searchsorted(floors, probabilities, side="right").astype(np.int64)


class Forest:
    """A RandomForest in ONNX Runtime, on one thread; safe to share between threads."""

    def __init__(self, graph: Path, encoder: Encoder, thresholds: Thresholds) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.encoder = encoder
        self.thresholds = thresholds
        self._session = onnxruntime.InferenceSession(
            str(graph), options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._output = [self._session.get_outputs()[1].name]

    @classmethod
    def load(cls, folder: Path) -> "Forest":
        """The forest in the serving form at `folder`. Raises ServingFormError."""
        described = _read_json(folder / DESCRIPTION)
        try:
            encoder = Encoder.from_json(described["encoder"])
            thresholds = Thresholds(**described["thresholds"])
            return cls(folder / GRAPH, encoder, thresholds)
        except ServingFormError:
            raise
        except Exception as error:
            # ONNX Runtime has an exception class of its own for each way a file can be bad.
            message = f"The serving form in {folder} cannot be loaded: {error}. Train again."
            raise ServingFormError(message) from error

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """P(fraud) of each row: features (n, k) float32 -> (n,) float64.

        Rows that are alike take the same way through the trees: in order, they come twice as fast,
        and equal ones are asked about once.
        """
        order = np.lexsort(features.T)
        ordered = features[order]
        first = np.ones(len(features), dtype=bool)
        np.any(ordered[1:] != ordered[:-1], axis=1, out=first[1:])
        answer = self._session.run(self._output, {self._input: ordered[first]})[0]
        found = np.empty(len(features), dtype=np.float64)
        found[order] = answer[:, 1][np.cumsum(first) - 1]
        return found

    def probability(self, amount: float, hour: int, category: str | None) -> float:
        """P(fraud) of one transaction."""
        features = self.encoder.row(amount, hour, category)
        return float(self._session.run(self._output, {self._input: features})[0][0, 1])


def describe(folder: Path, encoder: Encoder, thresholds: Mapping[str, float]) -> None:
    """Writes the description beside the graph."""
    described = {"kind": "risk", "encoder": encoder.as_json(), "thresholds": dict(thresholds)}
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=1), encoding="utf-8")


def verify(folder: Path) -> int:
    """Scores the stored examples again; the number of examples.

    Raises ServingFormError when an answer differs from the native model's by more than TOLERANCE.
    """
    forest = Forest.load(folder)
    stored = _read_json(folder / EXAMPLES)
    for example in stored["examples"]:
        got = forest.probability(example["amount"], example["hour"], example["category"])
        if not abs(got - example["probability"]) <= TOLERANCE:
            message = (
                f"The serving form in {folder} answers {got:.9f} where the native forest answered "
                f"{example['probability']:.9f} (amount {example['amount']}, hour "
                f"{example['hour']}, category {example['category']}): do not serve it, train again."
            )
            raise ServingFormError(message)
    return len(stored["examples"])


def _read_json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = f"The serving form lacks a readable {path.name} in {path.parent}: {error}."
        raise ServingFormError(message) from error
    if not isinstance(loaded, dict):
        message = f"{path} is not a JSON object."
        raise ServingFormError(message)
    return loaded
