"""Reads payment e-mails: text to tokens, tokens to spans, spans to a form's four fields."""
