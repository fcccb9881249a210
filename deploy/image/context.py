"""Lays out what goes into the image, all of it from the bento: packages, sources and models."""

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import bentoml

from deploy.image.base import PYTHON
from paydesk.errors import PaydeskError

_HERE = Path(__file__).parent
_LOCKED = "requirements/serve.txt"
_BUILDS = "requirements/build.txt"

# What the service never reads, by pattern in the packages' folder. Licences and metadata stay.
CUTS = {
    "bin": "commands whose first line names the building machine",
    "onnxruntime/capi/libonnxruntime.so*": "the C library; Python's module has all of it inside",
    "onnxruntime/transformers": "tools that convert models",
    "onnxruntime/quantization": "tools that convert models",
    "onnxruntime/tools": "tools that convert models",
    "onnxruntime/datasets": "example models",
    "pycountry/locales": "names of countries in other languages",
    "**/tests": "tests of packages, a pickle among them",
    "sqlalchemy/testing": "tests of packages",
    "**/*.pyi": "types for editors",
    "**/*.h": "sources for compilers",
    "**/*.c": "sources for compilers",
    "**/*.pyx": "sources for compilers",
    "**/*.pxd": "sources for compilers",
    "**/*.a": "libraries for compilers",
}


class PackError(PaydeskError):
    """The packages or their list of contents could not be made."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One line of CUTS, carried out."""

    pattern: str
    reason: str
    size: int  # bytes


def lay_out(bento: bentoml.Bento, folder: Path) -> list[Cut]:
    """Fills `folder` with the context of the Containerfile, and says what was left out.

    Raises PackError.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = Path(bento.path) / "src"
    shutil.copytree(source, folder / "src")
    shutil.copy(_HERE / "compile.py", folder)
    _install(source / _LOCKED, folder / "packages")
    _list_contents(folder)
    cuts = [_cut(folder / "packages", *line) for line in CUTS.items()]
    _copy_models(bento, folder / "bentoml")
    (folder / "data").mkdir()
    for path in [folder, *folder.rglob("*")]:
        # Readable for the image's user, written by nobody, whatever this machine's umask is.
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    (folder / "data").chmod(0o700)
    return cuts


def size(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum(file.lstat().st_size for file in path.rglob("*") if not file.is_dir())


def _install(locked: Path, target: Path) -> None:
    # One of them (quotequail) is published as source only, plain Python: its wheel is made here,
    # from the locked source with a locked setuptools. All others come as wheels or not at all.
    _run(
        *("uv", "pip", "install", "--quiet", "--target", str(target)),
        *("--python-version", PYTHON, "--link-mode", "copy"),
        *("--only-binary", ":all:", "--no-binary", "quotequail"),
        *("--require-hashes", "--build-constraints", _BUILDS, "--requirements", str(locked)),
    )


def _list_contents(folder: Path) -> None:
    """The list of all packages with version and licence (CycloneDX), as installed."""
    empty = folder / "empty"
    venv.create(empty)  # So that nothing of this machine's Python is in the list.
    _run(
        *("cyclonedx-py", "environment", "--output-reproducible"),
        *("--output-format", "JSON", "--output-file", str(folder / "sbom.cdx.json")),
        str(empty / "bin" / "python"),
        PYTHONPATH=str(folder / "packages"),
        PYTHONDONTWRITEBYTECODE="1",  # It would be in the image, with this machine's times.
    )
    shutil.rmtree(empty)


def _copy_models(bento: bentoml.Bento, home: Path) -> None:
    """The bento's models as a BentoML home that nothing needs to be added to."""
    for name in ("bentos", "envs", "tmp"):
        (home / name).mkdir(parents=True)
    for model in (bentoml.models.get(wanted.tag) for wanted in bento.info.all_models):
        kept = home / "models" / model.tag.name
        shutil.copytree(model.path, kept / str(model.tag.version))
        (kept / "latest").write_text(str(model.tag.version), encoding="utf-8")


def _cut(packages: Path, pattern: str, reason: str) -> Cut:
    freed = 0
    for path in list(packages.glob(pattern)):
        freed += size(path)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    return Cut(pattern, reason, freed)


def _run(command: str, *words: str, **environment: str) -> None:
    done = subprocess.run(  # noqa: S603 (our own words)
        [str(Path(sys.executable).with_name(command)), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        message = f"{command} failed: {(done.stderr or done.stdout).strip()[-2000:]}"
        raise PackError(message)
