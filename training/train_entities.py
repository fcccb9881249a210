"""Trains the reader of payment e-mails and takes it to the MLflow registry."""

import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from paydesk.entities.evaluation import evaluate
from paydesk.entities.features import VERSION, token_features
from paydesk.entities.reader import EXAMPLES, MODEL, TAGGER, Reader, verify
from paydesk.entities.tokens import tokenize
from paydesk.errors import PaydeskError
from paydesk.settings import Settings
from training.alignment import tag
from training.emails import (
    CORPUS,
    Variator,
    load_corpus,
    load_own,
    split_by_template,
    write_holdout,
)
from training.markup import Mail, MailError

TRUSTED_TYPES = [
    "sklearn_crfsuite.estimator.CRF",
    "sklearn_crfsuite._fileresource.FileResource",
    "pycrfsuite._logparser.TrainLogParser",
]

_HELD_OUT = 0.15
_FEWEST = 4
_EXAMPLES = 20
_CRF = {"algorithm": "lbfgs", "c1": 0.1, "c2": 0.1, "max_iterations": 80}

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Source:
    """The mail to learn from, where it came from, and the SHA-256 of it."""

    mails: Sequence[Mail]
    name: str
    digest: str


def read_source(data: Path | None) -> Source:
    """The user's own mail in `data`, or the corpus shipped.

    Raises MailError when there is too little to train on and hold out.
    """
    mails = load_own(data) if data else load_corpus()
    if len(mails) < _FEWEST:
        message = f"{data} holds {len(mails)} mails; training needs at least {_FEWEST}."
        raise MailError(message)
    if not any(mail.spans for mail in mails):
        message = f"{data} has no span in any mail; annotate some: [start, end, label]."
        raise MailError(message)
    files = [data] if data else sorted(CORPUS.glob("*.jsonl"))
    content = b"".join(path.read_bytes() for path in files)
    name = str(data.resolve()) if data else "training/corpus"
    return Source(mails, name, hashlib.sha256(content).hexdigest())


def featurize(mails: Sequence[Mail]) -> tuple[list[list[list[str]]], list[list[str]]]:
    """For every mail its tokens' features, and its tokens' tags."""
    rows, tags = [], []
    for mail in mails:
        tokens = tokenize(mail.text)
        if tokens:
            rows.append(token_features(mail.text, tokens))
            tags.append(tag(mail, tokens))
    return rows, tags


def fit(mails: Sequence[Mail]) -> Any:
    """A sklearn-crfsuite CRF fitted on `mails`."""
    from sklearn_crfsuite import CRF

    rows, tags = featurize(mails)
    return CRF(**_CRF).fit(rows, tags)


def write_serving_form(crf: Any, held_out: Sequence[Mail], folder: Path) -> None:
    """The serving form of `crf` in `folder`, with the native model's answers as examples.

    Raises ServingFormError when the serving form answers otherwise than `crf` on any held-out mail.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TAGGER).write_bytes(Path(crf.modelfile.name).read_bytes())
    model = {"kind": "entities", "features": VERSION}
    (folder / MODEL).write_text(json.dumps(model, indent=1) + "\n", encoding="utf-8")
    rows, _ = featurize(held_out)
    texts = [mail.text for mail in held_out if tokenize(mail.text)]
    examples = [
        {"text": text, "tags": [str(t) for t in tags]}
        for text, tags in zip(texts, crf.predict(rows), strict=True)
    ]
    written = folder / EXAMPLES
    written.write_text(json.dumps({"examples": examples}, ensure_ascii=False), encoding="utf-8")
    verify(folder)
    kept = {"examples": examples[:_EXAMPLES]}
    written.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def main(
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your own mail instead of the corpus shipped: JSONL, one mail a line, "
            '{"text": …, "spans": a list of (start, end, label)} with the labels AMOUNT, '
            "CURRENCY, ACCOUNT_A (who is paid) and ACCOUNT_B (who pays)."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same metrics.")] = 20,
    tracking_uri: Annotated[
        str, typer.Option(help="An MLflow server; by default the store embedded in mlruns/.")
    ] = "",
) -> None:
    """Trains the reader of payment e-mails and registers it in MLflow as `entities`.

    The first version becomes @champion, later ones @challenger.
    """
    console = Console(stderr=True)
    try:
        train(data, seed, tracking_uri, console)
    except PaydeskError as error:
        console.print(f"[red]{error}[/red]", highlight=False, soft_wrap=True)
        sys.exit(2)


def train(data: Path | None, seed: int, uri: str, console: Console) -> None:
    """The whole way from mail to a registered version."""
    progress = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console
    )
    with progress, tempfile.TemporaryDirectory() as scratch:
        step = progress.add_task("reading mail")
        source = read_source(data)
        learned, held_out = split_by_template(source.mails, _HELD_OUT, seed)
        variator = Variator(learned, seed)
        mails = [*learned, *(variator.vary(mail) for mail in learned)]
        progress.update(step, description=f"fitting a CRF on {len(mails)} mails")
        crf = fit(mails)
        progress.update(step, description="checking the serving form")
        folder = Path(scratch)
        write_serving_form(crf, held_out, folder / "serving")
        holdout = folder / "holdout.jsonl"
        write_holdout(held_out, holdout)
        metrics = evaluate(Reader.load(folder / "serving"), holdout)
        progress.update(step, description="registering")
        published = _publish(
            crf, source, seed, metrics, folder, uri or Settings().tracking_uri, mails
        )
    console.print(f"entities version {published.version} is @{published.alias}")
    for name, value in metrics.items():
        console.print(f"  {name:20} {value:.3f}")


def _publish(
    crf: Any,
    source: Source,
    seed: int,
    metrics: dict[str, float],
    folder: Path,
    uri: str,
    mails: Sequence[Mail],
) -> Any:
    # MLflow takes seconds to import: --help and errors in the data come first.
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    from paydesk.tracking_store import tracking_uri
    from training.tracking import Product, publish

    signature = ModelSignature(
        inputs=Schema([ColSpec(Array(Array(DataType.string)))]),
        outputs=Schema([ColSpec(Array(DataType.string))]),
    )
    example = featurize([Mail("", "Pay £35k to Brennock Joinery", (), {})])[0]
    return publish(
        Product(
            name="entities",
            run_name=f"crf-seed-{seed}",
            native=crf,
            trusted_types=TRUSTED_TYPES,
            signature=signature,
            input_example=example,
            serving=folder / "serving",
            holdout=folder / "holdout.jsonl",
            data_source=source.name,
            data_digest=source.digest,
            card="# entities\n",
            params={**_CRF, "seed": seed, "mails": len(mails)},
            metrics=metrics,
            plots={},
        ),
        uri or tracking_uri(Settings()),
    )


app.command()(main)

if __name__ == "__main__":
    app()
