"""A model's serving form: a folder of plain files, with a digest that proves it unchanged."""

import hashlib
from pathlib import Path

from paydesk.errors import PaydeskError

BENTO_DESCRIPTION = "model.yaml"  # BentoML's own file beside the model's


class ServingFormError(PaydeskError):
    """A serving form is incomplete, altered, or does not answer as its native model did."""


def digest(folder: Path, leave_out: str = "") -> str:
    """SHA-256 (hex) over the names and bytes of every file below `folder`, in order of name.

    `leave_out` is the path, within `folder`, of a file that does not count.
    """
    whole = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != leave_out:
            whole.update(f"{name}\0{file_digest(path)}\n".encode())
    return whole.hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check(folder: Path, expected: str) -> None:
    """Proves that the Bento model in `folder` still holds the files that were pulled.

    `expected` is the digest in its metadata, serving_sha256. Raises ServingFormError.
    """
    try:
        found = digest(folder, leave_out=BENTO_DESCRIPTION)
    except OSError as error:
        message = f"The model in {folder} cannot be read: {error}. paydesk models pull"
        raise ServingFormError(message) from error
    if found != expected:
        message = (
            f"The model in {folder} is not the one that was pulled: its SHA-256 is {found}, not "
            f"{expected or 'recorded at all'}. Do not serve it; fetch it anew: paydesk models pull"
        )
        raise ServingFormError(message)
