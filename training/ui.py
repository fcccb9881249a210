"""`make ui`: the MLflow UI on the embedded store, on this machine only."""

import os
import sys

from rich.console import Console

from paydesk.errors import PaydeskError
from paydesk.local import HOST, refuse_taken
from paydesk.settings import Settings
from paydesk.tracking_store import open_store, tracking_uri

console = Console(stderr=True)


def main(port: int) -> None:
    """Gives this process to the UI. Raises PaydeskError when it cannot show anything."""
    uri = tracking_uri(Settings())
    open_store(uri)
    refuse_taken(port, f"make ui UI_PORT={port + 1}")
    console.print(f"The MLflow UI is at http://{HOST}:{port}; Ctrl-C stops it.", soft_wrap=True)
    os.environ.setdefault("PYTHONWARNINGS", "ignore")
    command = [*(sys.executable, "-m", "mlflow", "ui"), *("--backend-store-uri", uri)]
    command += [*("--workers", "1"), *("--host", HOST), *("--port", str(port))]
    os.execv(sys.executable, command)  # noqa: S606 (our own words)


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except PaydeskError as error:
        console.print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
