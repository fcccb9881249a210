"""Paydesk: fraud scores, payment e-mails and payments, from training to production."""

import os

__version__ = "0.1.0"

# MLflow reads this when it is imported, so it has to stand before, whichever part comes first.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
