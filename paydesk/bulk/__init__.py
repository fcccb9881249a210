"""Transactions and e-mails by the million: rows of any form in, answers in any form out."""
