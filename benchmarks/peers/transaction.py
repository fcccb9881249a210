"""What every peer does with a transaction before its forest: the champion's own features."""

import json
import os
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ["BENCH_FOREST"])  # the serving form: graph, encoder, thresholds
_ENCODER = json.loads((FOLDER / "model.json").read_text("utf-8"))["encoder"]
_CODES = {name: n for n, name in enumerate(_ENCODER["categories"])}


def features(body: dict[str, Any]) -> list[float]:
    """The forest's input for one transaction."""
    code = _CODES.get(str(body.get("category")), len(_CODES))
    amount = float(body["amount"])
    typical = amount / _ENCODER["typical_amounts"][code]
    return [
        amount,
        typical,
        float(body.get("hour", 12)),
        *(float(code == n) for n in _CODES.values()),
    ]


def answer(body: dict[str, Any], probability: float) -> dict[str, Any]:
    """What is answered."""
    return {
        "tx_id": body.get("tx_id", "unknown"),
        "fraud_probability": probability,
        "fraud": probability >= 0.5,
    }
