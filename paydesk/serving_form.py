"""A model's serving form: a folder of plain files, with a digest that proves it unchanged."""

import hashlib
from pathlib import Path

from paydesk.errors import PaydeskError


class ServingFormError(PaydeskError):
    """A serving form is incomplete, altered, or does not answer as its native model did."""


def digest(folder: Path) -> str:
    """SHA-256 (hex) over the names and bytes of every file below `folder`, in order of name."""
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode())
    return whole.hexdigest()
