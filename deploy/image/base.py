"""The base image: one that is named with its digest, or a Debian with Python made right here."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.image.engine import Engine
from paydesk.errors import PaydeskError

PYTHON = "3.11"  # Of Debian 12, and what the packages are chosen for.
LOCAL = "localhost/paydesk-base:debian12"

# Package lists, manuals and translations stay out; licences stay in.
_MMDEBSTRAP = (
    "--variant=essential",
    "--include=ca-certificates,libstdc++6,media-types,python3",
    # /usr is merged from the start: the package that merges it later drags in all of Perl.
    "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
    "--dpkgopt=force-unsafe-io",
    *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "locale", "info", "doc")),
    "--dpkgopt=path-include=/usr/share/doc/*/copyright",
    # Bytecode that does not depend on the files' times, which are all set to 1970.
    '--customize-hook=chroot "$1" python3 -m compileall -q -f --invalidation-mode unchecked-hash '
    f"/usr/lib/python3 /usr/lib/python{PYTHON}",
    # What differs from one run to the next, or tells of this machine.
    '--customize-hook=rm -rf "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/etc/machine-id '
    '"$1"/var/log/* "$1"/var/cache/debconf/* "$1"/var/cache/ldconfig/* "$1"/etc/*-',
)


class BaseError(PaydeskError):
    """There is no base image; the message says how to get one."""


def base_image(engine: Engine, named: str) -> str:
    """The image to build on: `named`, or the local one, made if it is not there yet.

    Raises BaseError.
    """
    if not named:
        if not engine.has(LOCAL):
            make_base(engine, LOCAL)
        return LOCAL
    if not named.startswith("localhost/") and not re.search(r"@sha256:[0-9a-f]{64}$", named):
        message = (
            f"BASE={named} is not pinned: name it with its digest, as in "
            "BASE=docker.io/library/python:3.11-slim-bookworm@sha256:…, or leave BASE out."
        )
        raise BaseError(message)
    return named


def make_base(engine: Engine, name: str, *more: str) -> None:
    """Makes a Debian with Python, and with the packages `more`, as the image `name`.

    Raises BaseError.
    """
    if shutil.which("mmdebstrap") is None:
        message = (
            "The base image is made with mmdebstrap, which is not here. Install it (Debian: "
            "apt-get install mmdebstrap), or name a base with its digest: "
            "make image BASE=docker.io/library/python:3.11-slim-bookworm@sha256:…"
        )
        raise BaseError(message)
    included = (f"--include={package}" for package in more)
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "debian.tar"
        done = subprocess.run(  # noqa: S603 (our own words)
            ["mmdebstrap", *_MMDEBSTRAP, *included, "bookworm", str(archive)],  # noqa: S607
            env={**os.environ, "SOURCE_DATE_EPOCH": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            message = f"mmdebstrap failed: {done.stderr.strip()[-2000:]}"
            raise BaseError(message)
        containerfile = Path(scratch) / "Containerfile"
        containerfile.write_text("FROM scratch\nADD debian.tar /\n", encoding="utf-8")
        engine.build(Path(scratch), containerfile, "--tag", name)
