"""Transactions from Kafka, decisions and alerts to Kafka, each once."""
