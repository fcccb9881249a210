"""The one root of every error whose message is meant for the person at the other end."""


class PaydeskError(Exception):
    """Something the caller can act on; the message names the value, the limit and the next step."""
