"""Transactions: what they are, the rules, the forest, and the decision that both make."""
