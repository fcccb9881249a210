"""Paydesk: fraud scores, payment e-mails and payments, from training to production."""

__version__ = "0.1.0"
