"""Trains both models. Importing Paydesk first keeps MLflow's telemetry off: see its __init__."""

import paydesk as paydesk
