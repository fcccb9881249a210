"""Identifiers: of what is stored, which sort by time; of requests, by chance alone."""

import os
import time

_BYTES = 16
_AT_ONCE = 256
_chance: list[bytes] = []
# A child that went on with its parent's would make the same identifiers.
os.register_at_fork(after_in_child=_chance.clear)


def new_id() -> str:
    """A UUID of version 7 (RFC 9562): 48 bits of milliseconds, then chance."""
    value = int.from_bytes(_random_bytes(), "big") & ((1 << 80) - 1)
    value |= (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80
    value = value & ~(0xF << 76) | 7 << 76
    value = value & ~(0x3 << 62) | 2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def random_hex() -> str:
    """128 bits of chance, as 32 hexadecimal digits."""
    return _random_bytes().hex()


def _random_bytes() -> bytes:
    # The system's own, asked for 256 at once: a call for each takes a twentieth of /score.
    try:
        return _chance.pop()
    except IndexError:
        fresh = os.urandom(_BYTES * _AT_ONCE)
        _chance.extend(fresh[at : at + _BYTES] for at in range(_BYTES, len(fresh), _BYTES))
        return fresh[:_BYTES]
