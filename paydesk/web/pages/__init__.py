"""The desk page and the files that it loads, read once, with what a browser needs to keep them."""

import gzip
import hashlib
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.responses import Response

_HERE = Path(__file__).parent
TYPES: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}


class PageFile:
    """A file as it is sent: compressed where the browser takes that, not at all where it has it."""

    def __init__(self, path: Path) -> None:
        self.content = path.read_bytes()
        self._packed = gzip.compress(self.content, mtime=0)
        self._type = TYPES[path.suffix]
        self._etag = f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    def answer(self, asked: Headers) -> Response:
        """The answer to a request with these headers."""
        # Asked about each time and seldom sent: after an update no page runs with an older part.
        headers = {"ETag": self._etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        known = {
            tag.strip().removeprefix("W/") for tag in asked.get("if-none-match", "").split(",")
        }
        if self._etag in known:
            return Response(status_code=304, headers=headers)
        headers["Content-Type"] = self._type
        if "gzip" in asked.get("accept-encoding", ""):
            return Response(self._packed, headers={**headers, "Content-Encoding": "gzip"})
        return Response(self.content, headers=headers)


DESK: Final = (_HERE / "index.html").read_text("utf-8")
# By name alone: what others have made, in vendor/, has names of its own.
FILES: Final = {
    path.name: PageFile(path) for path in sorted(_HERE.rglob("*")) if path.suffix in TYPES
}
