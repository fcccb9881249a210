"""Request ids: a caller's own where any header, log line and database can carry it."""

import re
import uuid

_CARRIED = re.compile(r"[A-Za-z0-9._:-]{1,64}")


def carried(request_id: str | None) -> str:
    """`request_id`, or one of our own where it has other characters or another length."""
    if request_id is not None and _CARRIED.fullmatch(request_id):
        return request_id
    return str(uuid.uuid4())
