"""`make image`: builds the bento, packs it, builds the image, and says what takes space."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import bentoml
from rich.console import Console
from rich.table import Table

from deploy.image.base import PYTHON, base_image
from deploy.image.context import Cut, lay_out, size
from deploy.image.engine import Engine
from paydesk import __version__
from paydesk.errors import PaydeskError
from paydesk.registry.bento import registry_version
from paydesk.settings import Settings

_HERE = Path(__file__).parent
_SHOWN = 8

console = Console(stderr=True)


def main() -> None:
    """Builds the image; an error that is meant for a person is one sentence and exit code 2."""
    parser = argparse.ArgumentParser(description="Builds the container image of the champions.")
    parser.add_argument("--tag", default=f"paydesk:{__version__}", help="The image's name.")
    parser.add_argument("--base", default="", help="A base image with its digest; empty: local.")
    asked = parser.parse_args()
    try:
        _build(asked.tag, asked.base)
    except PaydeskError as error:
        console.print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


def _build(tag: str, named_base: str) -> None:
    engine = Engine.find()
    base = base_image(engine, named_base)
    bento = bentoml.bentos.build_bentofile("bentofile.yaml")
    context = Settings().home.resolve() / "image"
    cuts = lay_out(bento, context)
    labels = _labels(bento)
    engine.build(
        context,
        _HERE / "Containerfile",
        *("--build-arg", f"BASE={base}", "--build-arg", f"PYTHON={PYTHON}", "--tag", tag),
        *(word for name, text in labels.items() for word in ("--label", f"{name}={text}")),
    )
    console.print(_left_out(cuts), _sizes(engine, base, tag, context))
    console.print(f"{tag} is {engine.ask('image', 'inspect', '--format', '{{.Id}}', tag)}")


def _labels(bento: bentoml.Bento) -> dict[str, str]:
    models = [bentoml.models.get(wanted.tag) for wanted in bento.info.all_models]
    return {
        "org.opencontainers.image.title": "paydesk",
        "org.opencontainers.image.description": "Fraud scores, payment e-mails and payments",
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": __version__,
        "org.opencontainers.image.revision": _revision(),
        **{f"paydesk.model.{model.tag.name}.version": registry_version(model) for model in models},
        **{
            f"paydesk.model.{model.tag.name}.sha256": str(model.info.metadata["serving_sha256"])
            for model in models
        },
    }


def _revision() -> str:
    """The commit, with a mark if what is packed differs from it; empty outside of a checkout."""
    commit = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", "service.py", "paydesk", "deploy", "requirements")
    return f"{commit}-dirty" if changed else commit


def _git(*words: str) -> str:
    done = subprocess.run(  # noqa: S603 (our own words)
        ["git", *words],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def _sizes(engine: Engine, base: str, tag: str, context: Path) -> Table:
    packages = context / "packages"
    largest = sorted(packages.iterdir(), key=size, reverse=True)[:_SHOWN]
    whole, below = _bytes(engine, tag), _bytes(engine, base)
    parts = {
        f"base: {base}": below,
        "packages": size(packages),
        "Paydesk": size(context / "src"),
        "models": size(context / "bentoml"),
        "list of contents": size(context / "sbom.cdx.json"),
    }
    parts["bytecode"] = whole - sum(parts.values())
    table = Table("what takes space", "MB")
    table.columns[1].justify = "right"
    for name, value in parts.items():
        table.add_row(name, _mb(value))
        for path in largest if name == "packages" else ():
            table.add_row(f"  {path.name}", _mb(size(path)))
    table.add_section()
    table.add_row("without the base", _mb(whole - below))
    table.add_row("the image", _mb(whole))
    return table


def _left_out(cuts: list[Cut]) -> Table:
    table = Table("left out", "MB", "what it is")
    table.columns[1].justify = "right"
    for cut in cuts:
        table.add_row(cut.pattern, _mb(cut.size), cut.reason)
    return table


def _mb(value: int) -> str:
    return f"{value / 1e6:.1f}"


def _bytes(engine: Engine, image: str) -> int:
    return int(json.loads(engine.ask("image", "inspect", image))[0]["Size"])


main()
