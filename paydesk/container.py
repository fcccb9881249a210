"""The service as a container runs it: checked first, one process, ended cleanly by SIGTERM."""

import os
import signal
import sys
import tempfile
from types import FrameType

import uvicorn

from paydesk.errors import PaydeskError
from paydesk.settings import Settings
from paydesk.web.protocol import GuardedProtocol
from paydesk.web.worker import check


class HomeError(PaydeskError):
    """The folder for the database cannot be written."""


def run(settings: Settings, port: int) -> None:
    """Serves until SIGTERM. Raises PaydeskError, and says in its one sentence what is missing.

    Not `bentoml serve`: its supervisor is a second process of some 60 MB that takes commands from
    any local user on a TCP port. What restarts and multiplies processes is the container platform.
    """
    # uvicorn, after its clean end, hands the signal on to whoever had it before: that is exit 0.
    signal.signal(signal.SIGTERM, _end)
    os.umask(0o077)
    if not settings.database_url:
        _refuse_unwritable(settings)
    check(settings)
    uvicorn.run(
        "service:Paydesk.to_asgi",
        factory=True,
        http=GuardedProtocol,
        host="0.0.0.0",  # noqa: S104 (a container's own interfaces)
        port=port,
        log_config=None,  # The service's own JSON lines.
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.grace_s,
    )


def _refuse_unwritable(settings: Settings) -> None:
    home = settings.home.resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return
    except OSError as error:
        message = (
            f"{home} cannot be written by user {os.getuid()} ({error.strerror}), and the database "
            "is to be there. Mount a volume that this user owns (docker run -v paydesk:"
            f"{home} …), or name a PostgreSQL database in PAYDESK_DATABASE_URL."
        )
        raise HomeError(message) from error


def _end(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(0)
