"""The forest in ONNX Runtime, on one thread."""

from typing import Any

import numpy as np
import onnxruntime
from transaction import FOLDER

_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
_session = onnxruntime.InferenceSession(
    str(FOLDER / "forest.onnx"), _options, providers=["CPUExecutionProvider"]
)
_input = _session.get_inputs()[0].name
_output = [_session.get_outputs()[1].name]


def probability(row: list[float]) -> float:
    """P(fraud) of one transaction."""
    found: Any = _session.run(_output, {_input: np.array([row], dtype=np.float32)})[0]
    return float(found[0, 1])
