"""Trains the reader of payment e-mails and takes it to the MLflow registry."""

import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from paydesk.entities.evaluation import FIELDS, evaluate
from paydesk.entities.features import VERSION
from paydesk.entities.reader import EXAMPLES, MODEL, ROLES, TAGGER, Reader, verify
from paydesk.errors import PaydeskError
from paydesk.serving_form import ServingFormError
from paydesk.settings import Settings
from training.emails import CORPUS, load_corpus, load_own, split_by_template, write_holdout
from training.markup import Mail, MailError, load_marked

if TYPE_CHECKING:
    from training.entities_fit import Fitted
    from training.tracking import Published

TRUSTED_TYPES = [
    "sklearn_crfsuite.estimator.CRF",
    "sklearn_crfsuite._fileresource.FileResource",
    "pycrfsuite._logparser.TrainLogParser",
]
HELD_OUT = Path(__file__).parents[1] / "tests/data/emails/dev.jsonl"

_SHARE_HELD_OUT = 0.15
_FEWEST = 8
_EXAMPLES = 20


@dataclass(frozen=True)
class Source:
    """Mail to learn from and mail held out, where it came from, and the SHA-256 of it."""

    learned: Sequence[Mail]
    held_out: Sequence[Mail]
    name: str
    digest: str


def read_source(data: Path | None, seed: int) -> Source:
    """The user's own mail in `data`, split by template, or the corpus shipped, with the
    hand-written development mail held out.

    Raises MailError when there is too little to train on and hold out.
    """
    if data is None:
        digest = _digest(sorted(CORPUS.glob("*.jsonl")))
        return Source(load_corpus(), load_marked(HELD_OUT), "training/corpus", digest)
    mails = load_own(data)
    if len(mails) < _FEWEST:
        message = f"{data} holds {len(mails)} mails; write at least {_FEWEST} to train on."
        raise MailError(message)
    if not any(mail.spans for mail in mails):
        message = f"{data}: 'spans' is empty in every mail; annotate some as [start, end, label]."
        raise MailError(message)
    learned, held_out = split_by_template(mails, _SHARE_HELD_OUT, seed)
    return Source(learned, held_out, str(data.resolve()), _digest([data]))


def _digest(files: Sequence[Path]) -> str:
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def write_serving_form(fitted: "Fitted", held_out: Sequence[Mail], folder: Path) -> None:
    """The serving form in `folder`, with the native model's answers as examples.

    Raises ServingFormError when the serving form tags any held-out mail otherwise than the native
    CRF does.
    """
    from training.entities_fit import featurize  # noqa: PLC0415 (scikit-learn takes seconds)

    folder.mkdir(parents=True, exist_ok=True)
    (folder / TAGGER).write_bytes(Path(fitted.crf.modelfile.name).read_bytes())
    _write_json(folder / ROLES, fitted.weights)
    model = {"kind": "entities", "features": VERSION, "calibration": fitted.calibration}
    _write_json(folder / MODEL, model)
    reader = Reader.load(folder)
    native = fitted.crf.predict(featurize(held_out)[0])
    examples = []
    for mail, tags in zip(held_out, native, strict=True):
        if reader.tags(mail.text) != [str(tag) for tag in tags]:
            message = f"Mail {mail.id}: the serving form tags it otherwise than the native CRF."
            raise ServingFormError(message)
        fields = reader.read(mail.text).model_dump(include=set(FIELDS))
        examples.append({"text": mail.text, "tags": [str(t) for t in tags], "fields": fields})
    _write_json(folder / EXAMPLES, {"examples": examples[:_EXAMPLES]})
    verify(folder)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


def train(data: Path | None, seed: int, uri: str, console: Console) -> "Published":
    """The whole way from mail to a registered version."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, tempfile.TemporaryDirectory() as scratch:
        step = progress.add_task("entities: reading mail")
        source = read_source(data, seed)
        progress.update(step, description=f"entities: fitting on {len(source.learned)} mails")
        # scikit-learn and MLflow take seconds to import: --help and bad input come first.
        from training.entities_fit import fit  # noqa: PLC0415

        fitted = fit(source.learned, seed)
        progress.update(step, description="entities: checking the serving form")
        folder = Path(scratch)
        write_serving_form(fitted, source.held_out, folder / "serving")
        progress.update(step, description="entities: measuring and registering")
        write_holdout(source.held_out, folder / "holdout.jsonl")
        metrics = evaluate(Reader.load(folder / "serving"), folder / "holdout.jsonl")
        published = _publish(fitted, source, seed, metrics, folder, uri)
    console.print(f"entities version {published.version} is @{published.alias}")
    for name, value in metrics.items():
        console.print(f"  {name:20} {value:.3f}")
    return published


def _publish(
    fitted: "Fitted",
    source: Source,
    seed: int,
    metrics: dict[str, float],
    folder: Path,
    uri: str,
) -> "Published":
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    from paydesk.tracking_store import tracking_uri  # noqa: PLC0415
    from training.entities_fit import CRF_PARAMS, ROLES_PARAMS, featurize  # noqa: PLC0415
    from training.entities_report import card, report  # noqa: PLC0415
    from training.tracking import Product, publish  # noqa: PLC0415

    # Mails, tokens and features: what is shorter than the longest is filled up with "", which no
    # feature is called. sklearn_crfsuite itself takes lists of any length.
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("str"), (-1, -1, -1))]),
        outputs=Schema([TensorSpec(np.dtype("str"), (-1, -1))]),
    )
    rows = featurize([Mail("", "Pay £35k to Brennock Joinery", (), {})])[0][0]
    longest = max(len(row) for row in rows)
    example: Any = np.array([[[*row, *[""] * (longest - len(row))] for row in rows]])
    shown = report(Reader.load(folder / "serving"), fitted.crf, source.held_out)
    return publish(
        Product(
            name="entities",
            run_name=f"crf-roles-seed-{seed}",
            native=fitted.crf,
            trusted_types=TRUSTED_TYPES,
            signature=signature,
            input_example=example,
            serving=folder / "serving",
            holdout=folder / "holdout.jsonl",
            data_source=source.name,
            data_digest=source.digest,
            card=card(metrics, source.name, len(source.learned), len(source.held_out), seed),
            params={
                **{f"crf_{name}": value for name, value in CRF_PARAMS.items()},
                **{f"roles_{name}": value for name, value in ROLES_PARAMS.items()},
                "seed": seed,
                "features": VERSION,
                "mails": len(source.learned),
                "mails_held_out": len(source.held_out),
            },
            metrics={**metrics, **shown.metrics},
            plots=shown.plots,
            tables=shown.tables,
        ),
        uri or tracking_uri(Settings()),
    )


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    data: Annotated[
        Path | None,
        typer.Option(
            help='Your own mail instead of the corpus shipped: JSONL, one mail a line, {"text": …, '
            '"spans": a list of \\[start, end, label]}, the labels AMOUNT, CURRENCY, ACCOUNT_A '
            "(who is paid) and ACCOUNT_B (who pays)."
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
        console.print(f"[red]Error: {escape(str(error))}[/red]", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    app()
