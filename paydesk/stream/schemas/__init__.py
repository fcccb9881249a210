"""The published JSON Schemas of the messages."""
