"""Paydesk: fraud scores, payment e-mails and payments, from training to production."""

import os

__version__ = "0.1.0"

# These are read when MLflow and ONNX Runtime are imported, so they have to stand before, whichever
# part comes first. ONNX Runtime's Linux builds send names and hashes of models to their maker.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
