"""What comes compressed, read in bounded parts: gzip and zstd, whatever they would grow to."""

import gzip
import sys
import zlib
from typing import BinaryIO, Literal, Protocol

from paydesk.errors import PaydeskError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Coding = Literal["identity", "gzip", "zstd"]
_MAGIC: dict[bytes, Coding] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
# RFC 9659: who unpacks what came over a network need not keep more than 8 MiB for it.
_WINDOW: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 23}


class BrokenOffError(PaydeskError):
    """The input ends too early, or goes on as something else; what came before it is good."""


class Bytes(Protocol):
    """Where bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end. Raises BrokenOffError."""


def coding_of(start: bytes) -> Coding:
    """How a file that begins like this is compressed."""
    return next((coding for magic, coding in _MAGIC.items() if start.startswith(magic)), "identity")


class Unpacked:
    """A file's bytes without their compression."""

    def __init__(self, file: BinaryIO, coding: Coding, most: int | None = None) -> None:
        """`most`: the bytes after which it is taken for a trap."""
        self._coding = coding
        self._left = most
        self._most = most
        self._file: BinaryIO | gzip.GzipFile | zstd.ZstdFile = file
        if coding == "gzip":
            self._file = gzip.GzipFile(fileobj=file, mode="rb")
        elif coding == "zstd":
            self._file = zstd.ZstdFile(file, "r", options=_WINDOW)

    def read(self, size: int, /) -> bytes:
        """Up to `size` bytes; none at the end. Raises BrokenOffError."""
        try:
            if isinstance(self._file, gzip.GzipFile | zstd.ZstdFile):
                part = self._file.read1(size)
            else:
                part = self._file.read(size)
        except EOFError as error:
            message = f"The {self._coding} data breaks off here: it was not written to its end."
            raise BrokenOffError(message) from error
        except (gzip.BadGzipFile, zlib.error, zstd.ZstdError) as error:
            message = f"The {self._coding} data is damaged from here on: {error}."
            raise BrokenOffError(message) from error
        if self._left is not None and self._most is not None:
            self._left -= len(part)
            if self._left < 0:
                message = f"Unpacked it is longer than {self._most:,} bytes: send it in parts."
                raise BrokenOffError(message)
        return part
