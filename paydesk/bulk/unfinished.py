"""A result in the making: beside its place in a folder, on disk step by step, there at once."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from paydesk.bulk.parquet import write_parquet
from paydesk.errors import PaydeskError

_EVERY_S = 1.0
_ROWS, _BAD, _JOURNAL = "rows", "bad.jsonl", "journal.json"


class OutputError(PaydeskError):
    """The result cannot be written where it should be; the message says what to do."""


@dataclass(slots=True)
class Totals:
    """What has been done: pieces of the input, rows scored, and rows refused."""

    pieces: int = 0
    scored: int = 0
    refused: int = 0


def side_file(out: Path) -> Path:
    """Where the refused rows of a result are."""
    return out.with_name(f"{out.name}.bad.jsonl")


class Unfinished:
    """The rows and the refused rows so far, in order; what is on disk is told by a journal.

    A run that is killed leaves the folder; the next one goes on where the journal says.
    """

    def __init__(
        self, out: Path, meant: Mapping[str, Any], *, resume: bool, overwrite: bool
    ) -> None:
        """`meant`: inputs, model and form, by which a run knows its own. Raises OutputError."""
        self._out = out
        self._folder = out.with_name(f"{out.name}.unfinished")
        self._meant = dict(meant)
        self.totals = Totals()
        self._refuse(resume=resume, overwrite=overwrite)
        try:
            if not resume and self._folder.exists():
                shutil.rmtree(self._folder)
            self._folder.mkdir(exist_ok=True)
            lengths = self._resumed() if resume else {_ROWS: 0, _BAD: 0}
            for name, length in lengths.items():
                (self._folder / name).touch()
                os.truncate(self._folder / name, length)
            self._rows = (self._folder / _ROWS).open("ab")
            self._bad = (self._folder / _BAD).open("ab")
        except OSError as error:
            raise self._failed(error) from error
        self._kept = monotonic()
        self.is_new = self._rows.tell() == 0

    def append(self, rows: bytes, bad: bytes) -> None:
        """Adds what one piece gave. Raises OutputError."""
        try:
            self._rows.write(rows)
            self._bad.write(bad)
            if monotonic() - self._kept > _EVERY_S:
                self.keep()
        except OSError as error:
            raise self._failed(error) from error

    def keep(self) -> None:
        """Puts everything so far on disk. Raises OutputError."""
        try:
            for file in (self._rows, self._bad):
                file.flush()
                os.fsync(file.fileno())
            kept = {
                "meant": self._meant,
                "lengths": {_ROWS: self._rows.tell(), _BAD: self._bad.tell()},
                "pieces": self.totals.pieces,
                "scored": self.totals.scored,
                "refused": self.totals.refused,
            }
            new = self._folder / f"{_JOURNAL}.new"
            new.write_text(json.dumps(kept), encoding="utf-8")
            _sync(new)
            new.replace(self._folder / _JOURNAL)
            _sync(self._folder)
        except OSError as error:
            raise self._failed(error) from error
        self._kept = monotonic()

    def finish(self) -> None:
        """Puts the result in its place, whole. Raises OutputError."""
        self.keep()
        made = self._folder / _ROWS
        try:
            if self._out.suffix.lower() == ".parquet":
                made = self._folder / "parquet"
                write_parquet(self._folder / _ROWS, made)
                _sync(made)
            if self.totals.refused:
                (self._folder / _BAD).replace(side_file(self._out))
            else:
                side_file(self._out).unlink(missing_ok=True)
            made.replace(self._out)
            _sync(self._out.absolute().parent)
        except OSError as error:
            raise self._failed(error) from error
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Lets go of the files."""
        self._rows.close()
        self._bad.close()

    def _refuse(self, *, resume: bool, overwrite: bool) -> None:
        if self._out.is_dir():
            raise OutputError(f"{self._out} is a folder; --out names a file.")
        if self._out.exists() and not overwrite:
            raise OutputError(f"{self._out} is there already: name another, or say --overwrite.")
        if self._folder.exists() and not resume and not overwrite:
            message = (
                f"An earlier run left {self._folder}: go on with --resume, or begin anew with "
                "--overwrite."
            )
            raise OutputError(message)
        if resume and not (self._folder / _JOURNAL).exists():
            message = (
                f"There is nothing to go on with: no journal in {self._folder}. Leave --resume."
            )
            raise OutputError(message)

    def _resumed(self) -> dict[str, int]:
        try:
            kept = json.loads((self._folder / _JOURNAL).read_text("utf-8"))
        except ValueError as error:
            message = f"The journal in {self._folder} cannot be read: begin anew with --overwrite."
            raise OutputError(message) from error
        if kept["meant"] != self._meant:
            differs = ", ".join(
                name for name in self._meant if kept["meant"].get(name) != self._meant[name]
            )
            message = (
                f"The run in {self._folder} was another one (its {differs} differ): begin anew "
                "with --overwrite."
            )
            raise OutputError(message)
        self.totals = Totals(kept["pieces"], kept["scored"], kept["refused"])
        return dict(kept["lengths"])

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self._out} cannot be written: {error.strerror or error}. When that is mended, go on "
            "with --resume."
        )


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
