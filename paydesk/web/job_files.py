"""The files of jobs on this disk: a folder each, with the body until its end, and the result."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from paydesk.storage.identifiers import random_hex
from paydesk.storage.jobs import State

_BODY, _RESULT, _PLACE = "body", "result", "place"
_ORPHAN_S = 3_600  # Longer than a body may take to arrive.


class JobFiles:
    """Blocks on the disk; raises OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._place = ""

    @property
    def place(self) -> str:
        """What this disk is called among all that share a database; it is written down there."""
        if not self._place:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            place = self._folder / _PLACE
            with tempfile.NamedTemporaryFile("w", dir=self._folder) as new:
                new.write(random_hex())
                new.flush()
                os.fsync(new.fileno())
                with suppress(FileExistsError):
                    os.link(new.name, place)
            self._sync(self._folder)
            self._place = place.read_text("ascii")
        return self._place

    def new_body(self, job_id: str) -> BinaryIO:
        """An empty file for the body of a new job."""
        _ = self.place
        folder = self._folder / job_id
        folder.mkdir(mode=0o700)
        return (folder / _BODY).open("w+b")

    def keep(self, job_id: str, body: BinaryIO) -> None:
        """Puts a body on disk, so that it is there after a power cut."""
        body.flush()
        os.fsync(body.fileno())
        self._sync(self._folder / job_id)
        self._sync(self._folder)

    def claim(self, job_id: str) -> BinaryIO | None:
        """The body, for whoever works on the job; None while another one has it.

        The system takes the claim from a process that ends, however it ends.
        """
        body = (self._folder / job_id / _BODY).open("r+b")
        try:
            fcntl.flock(body, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            body.close()
            return None
        except BaseException:
            body.close()
            raise
        return body

    def result_to_write(self, job_id: str) -> int:
        """A descriptor of the result, which is made where there is none."""
        return os.open(
            self._folder / job_id / _RESULT, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )

    def result_to_read(self, job_id: str) -> BinaryIO:
        """The result, from its beginning."""
        return (self._folder / job_id / _RESULT).open("rb")

    def drop_body(self, job_id: str) -> None:
        """Removes the body of a job at its end: e-mails are not kept."""
        (self._folder / job_id / _BODY).unlink(missing_ok=True)

    def remove(self, job_id: str) -> None:
        """Removes all that there is of a job."""
        shutil.rmtree(self._folder / job_id, ignore_errors=True)

    def tidy(self, states: Mapping[str, State]) -> None:
        """Removes the bodies of jobs that ended, and what belongs to no job of `states`."""
        for folder in self._folder.iterdir():
            if not folder.is_dir():
                continue
            state = states.get(folder.name)
            with suppress(FileNotFoundError):  # Another worker tidies up as well.
                if state in {"done", "failed"}:
                    self.drop_body(folder.name)
                elif state is None and time.time() - folder.stat().st_mtime > _ORPHAN_S:
                    self.remove(folder.name)

    def _sync(self, folder: Path) -> None:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
