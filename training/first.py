"""What `make serve` needs before it serves: both models trained, and the champions pulled."""

import subprocess
import sys
from pathlib import Path

from rich.console import Console

from paydesk.errors import PaydeskError
from paydesk.registry.bento import pull_champions, registry_version
from paydesk.registry.kinds import KINDS
from paydesk.registry.versions import has_champion
from paydesk.settings import Settings
from paydesk.tracking_store import open_store, tracking_uri

console = Console(stderr=True)


def prepare(settings: Settings) -> None:
    """Trains each model whose registry has no champion, then pulls both into the Bento store.

    Raises PaydeskError.
    """
    client = open_store(tracking_uri(settings), create=True)
    for name in KINDS:
        if has_champion(client, name):
            continue
        console.print(f"No {name} model yet: training one.")
        script = Path(__file__).with_name(f"train_{name}.py")
        done = subprocess.run([sys.executable, str(script)], check=False)  # noqa: S603 (our own)
        if done.returncode != 0:
            message = f"Training {name} failed; the lines above say why."
            raise PaydeskError(message)
    for name, model in zip(KINDS, pull_champions(client), strict=True):
        console.print(f"{name} version {registry_version(model)} is ready to serve.")


if __name__ == "__main__":
    try:
        prepare(Settings())
    except PaydeskError as error:
        console.print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
