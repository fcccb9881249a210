"""Lays out the Gmail extension: its own files, and those that it shares with the desk.

python -m deploy.extension FOLDER
"""

import json
import shutil
import sys
from pathlib import Path

from paydesk import __version__

_ROOT = Path(__file__).parent.parent
_DESK = _ROOT / "paydesk" / "web" / "pages"
# What the panel imports, and what they import.
SHARED = (
    *("alone.js", "api.js", "bank.js", "currencies.js", "desk.css", "dom.js", "form.js", "iban.js"),
    *("icon.svg", "lines.js", "mail.js", "marks.js", "money.js", "pay.js", "record.js", "risk.js"),
    *("sending.js", "store.js"),
)


def lay_out(folder: Path) -> None:
    """Fills `folder`, which a browser then loads as an unpacked extension."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_ROOT / "extension", folder)
    for name in SHARED:
        shutil.copy(_DESK / name, folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    manifest["version"] = __version__
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]))
