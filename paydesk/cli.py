"""`paydesk …`: composes, decides nothing. What needs the offline world is imported when used."""

import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn, track
from rich.table import Table
from rich.text import Text

from paydesk import __version__
from paydesk.errors import PaydeskError
from paydesk.settings import Settings
from paydesk.stream.commands import app as stream

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sqlalchemy import Engine

    from paydesk.bulk.files import Progress as RowsProgress
    from paydesk.payments.office import PaymentOffice
    from paydesk.payments.payment import PaymentRecord, State
    from paydesk.registry.promotion import Comparison
    from paydesk.storage.api_keys import ApiKeys

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
models = typer.Typer(no_args_is_help=True, help="Registered models: list, promote, pull.")
app.add_typer(models, name="models")
keys = typer.Typer(no_args_is_help=True, help="API keys: new, list, revoke.")
app.add_typer(keys, name="keys")
decisions = typer.Typer(no_args_is_help=True, help="The log of decisions: prune.")
app.add_typer(decisions, name="decisions")
payments = typer.Typer(no_args_is_help=True, help="Payments: list, settle, after-restore.")
app.add_typer(payments, name="payments")
app.add_typer(stream, name="stream")

out = Console()
err = Console(stderr=True)

TrackingUri = Annotated[
    str, typer.Option(help="An MLflow server's address. Empty: the embedded store, mlruns/.")
]


def main() -> None:
    """The entry: an error that is meant for a person is one sentence and exit code 2."""
    try:
        settings = Settings.read()
        os.environ.setdefault("BENTOML_HOME", str(settings.home.resolve() / "bentoml"))
        os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
        app()
    except PaydeskError as error:
        # The message may quote a path or a cell: no markup.
        err.print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Say the version.")] = False,
) -> None:
    """Fraud scores, payment e-mails and payments, from training to production."""
    if version:
        out.print(__version__)
        raise typer.Exit


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 3000,
    tls: Annotated[
        bool, typer.Option("--tls", help="HTTPS, with a certificate for this machine.")
    ] = False,
) -> None:
    """Serve on this machine with the sandbox bank; trains models where there are none.

    paydesk serve --port 3001 --tls
    """
    from paydesk.local import serve as serve_locally  # noqa: PLC0415

    serve_locally(Settings(), port, err, tls=tls)


@app.command()
def run(port: Annotated[int, typer.Option(min=1, max=65535)] = 3000) -> None:
    """Run the service alone, on every interface, as the container image does.

    paydesk run --port 3000
    """
    from paydesk.container import run as run_service  # noqa: PLC0415

    run_service(Settings.read(), port)


@app.command()
def migrate() -> None:
    """Bring the database up to date; does nothing when it is.

    paydesk migrate
    """
    from paydesk.storage.database import open_database  # noqa: PLC0415

    open_database(Settings.read().database).dispose()
    out.print("The database is up to date.")


@app.command()
def bank(
    port: Annotated[int, typer.Option(min=1, max=65535)] = 3990,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
) -> None:
    """Run the sandbox bank: a real server with the bank's contract, on which no money moves.

    paydesk bank --port 3990
    """
    from paydesk.payments.sandbox import run  # noqa: PLC0415

    run(host, port, Settings().home / "bank")


@app.command("try")
def try_it(
    url: Annotated[str, typer.Option(help="Where Paydesk listens.")] = "http://127.0.0.1:3000",
    key: Annotated[str, typer.Option(envvar="PAYDESK_KEY", help="API key, if one is needed.")] = "",
    cacert: Annotated[Path | None, typer.Option(help="The authority to trust, in PEM.")] = None,
) -> None:
    """Send ten example transactions and one e-mail, and show what comes back.

    paydesk try --url http://127.0.0.1:3000
    """
    from paydesk.examples import run  # noqa: PLC0415

    run(url, key or None, out, cacert)


@app.command()
def read(
    files: Annotated[list[Path], typer.Argument(help=".eml, .html, .txt, or .jsonl with `text`.")],
) -> None:
    """Read payment e-mails from files: one JSON object a mail, to standard output.

    paydesk read inbox/*.eml > payments.jsonl
    """
    from bentoml.exceptions import NotFound  # noqa: PLC0415
    from bentoml.models import get  # noqa: PLC0415

    from paydesk.entities.mail import read_files  # noqa: PLC0415
    from paydesk.entities.reader import Reader  # noqa: PLC0415

    try:
        model = get("entities:latest")
    except NotFound as error:
        message = "There is no entities model here: `make serve` or `paydesk models pull` gets one."
        raise PaydeskError(message) from error
    reader = Reader.load(Path(model.path))
    bad = 0
    for answer in track(read_files(reader, files), "Reading", console=err, transient=True):
        bad += "error" in answer
        sys.stdout.write(json.dumps(answer, ensure_ascii=False) + "\n")
    if bad:
        err.print(f"{bad} could not be read; their lines say why.")
        raise typer.Exit(3)


@app.command()
def score(
    files: Annotated[
        list[str],
        typer.Argument(
            help=".csv, .jsonl (each also .gz, .zst), .parquet, a folder, or - (stdin)."
        ),
    ],
    out_file: Annotated[
        Path, typer.Option("--out", help="The result: a .csv, .jsonl or .parquet file.")
    ],
    columns: Annotated[
        str, typer.Option(help="Your columns: amount=amt,tx_id=id,… for those named otherwise.")
    ] = "",
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was stopped or killed.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Although the result, or half of it, is there.")
    ] = False,
) -> None:
    """Score files of transactions; nothing goes into the log of decisions.

    paydesk score transactions.parquet --out scores.parquet
    """
    from paydesk.bulk import files as scoring  # noqa: PLC0415
    from paydesk.bulk.inputs import find_inputs  # noqa: PLC0415
    from paydesk.bulk.rows import FIELDS  # noqa: PLC0415
    from paydesk.bulk.served import risk_model  # noqa: PLC0415
    from paydesk.bulk.unfinished import side_file  # noqa: PLC0415
    from paydesk.risk.columns import parse_columns  # noqa: PLC0415

    named = parse_columns(columns, FIELDS)
    model = risk_model(Settings.read())
    inputs = find_inputs(files, out_file)
    began = monotonic()
    with _rows_progress() as tell:
        try:
            totals = scoring.score_files(
                inputs, out_file, named, model, resume=resume, overwrite=overwrite, tell=tell
            )
        except KeyboardInterrupt:
            err.print("Stopped; what is done is kept. Go on with --resume.", style="red")
            raise typer.Exit(130) from None
    took = monotonic() - began
    rows = totals.scored + totals.refused
    err.print(
        f"{totals.scored:,} rows scored with {model.name} into {out_file} in {took:.1f} s "
        f"({rows / took:,.0f} rows/s).",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if totals.refused:
        err.print(
            f"{totals.refused:,} rows were refused; {side_file(out_file)} says which and why.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(3)


@keys.command("new")
def new_key(
    name: Annotated[str, typer.Argument(help="Who or what will use it.")],
    scope: Annotated[list[str], typer.Option(help="score, read or pay; may be repeated.")],
) -> None:
    """Make a key and print it, once: only its digest is kept. It works within two seconds.

    paydesk keys new desk --scope score --scope read
    """
    made, text = _keys().new(name, scope)
    err.print(f"Key {made.key_id}, for {' and '.join(sorted(made.scopes))}. Shown this once:")
    out.print(text, highlight=False, markup=False, soft_wrap=True)


@keys.command("list")
def list_keys() -> None:
    """Show every key but its secret.

    paydesk keys list
    """
    table = Table()
    for heading in ("key", "name", "scopes", "made", "revoked"):
        table.add_column(heading)
    for key in _keys().all():
        revoked = "–" if key.revoked_at_us is None else _when(key.revoked_at_us)
        scopes = ", ".join(sorted(key.scopes))
        table.add_row(key.key_id, key.name, scopes, _when(key.created_at_us), revoked)
    if not table.row_count:
        err.print("No keys yet. `paydesk keys new NAME --scope score` makes one.")
    else:
        out.print(table)


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.")]) -> None:
    """End a key; the service refuses it within two seconds.

    paydesk keys revoke 4f3c2a1b0d9e
    """
    _keys().revoke(key_id)
    out.print(f"Key {key_id} is revoked.", highlight=False, markup=False)


@decisions.command("prune")
def prune_decisions(
    before: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="A date, UTC; decisions from then stay.")
    ],
) -> None:
    """Remove decisions recorded before a date; /stats keeps counting them.

    paydesk decisions prune --before 2024-01-01
    """
    from paydesk.storage.decision_history import DecisionHistory  # noqa: PLC0415

    limit = before.replace(tzinfo=UTC)
    if limit > datetime.now(UTC):
        message = f"{limit:%Y-%m-%d} is not over yet; --before takes a date up to today."
        raise PaydeskError(message)
    history = DecisionHistory(_database())
    removed = history.prune(int(limit.timestamp()) * 1_000_000)
    out.print(f"Removed {removed:,} decisions from before {limit:%Y-%m-%d}.", highlight=False)


@payments.command("list")
def list_payments(
    state: Annotated[
        Literal["recorded", "sent", "accepted", "rejected", "unknown"] | None,
        typer.Option(help="Those in this state alone; unknown ones may wait for a person."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a payment, with its whole history.")
    ] = False,
) -> None:
    """Show payments, newest first, with the last word about each.

    paydesk payments list --state unknown
    """
    table = Table()
    for heading in ("payment", "made", "state", "amount", "payee", "payer", "last word"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "payment")
    with _office() as office:
        for payment in _all_payments(office, state):
            if as_json:
                sys.stdout.write(payment.model_dump_json() + "\n")
                continue
            made = f"{payment.created_at:%Y-%m-%d %H:%M} UTC"
            amount = f"{payment.amount} {payment.currency}"
            last_word = payment.history[-1].detail
            names = (payment.creditor, payment.debtor)
            cells = (payment.payment_id, made, payment.state, amount, *names, last_word)
            table.add_row(*map(_plain, cells))
    if table.row_count:
        out.print(table)
    elif not as_json:
        err.print(f"No payments{f' that are {state}' if state else ''}.")


@payments.command("settle")
def settle_payment(
    payment_id: Annotated[str, typer.Argument(help="As `payments list` shows it.")],
    reason: Annotated[str, typer.Option(help="Who at the bank said what, and when; kept.")],
    reference: Annotated[str, typer.Option(help="It is booked, under this of the bank.")] = "",
    not_booked: Annotated[
        bool, typer.Option("--not-booked", help="It is not booked, and never will be.")
    ] = False,
) -> None:
    """End an unknown payment by what the bank told a person; the bank is not called.

    paydesk payments settle 01990a6e-… --not-booked --reason "Ms Roe, by telephone, 3 May"
    """
    if bool(reference) == not_booked:
        message = (
            "Say what the bank told: either --reference, by which it is booked, or --not-booked."
        )
        raise PaydeskError(message)
    with _office() as office:
        settled = office.settle(payment_id, reference or None, reason, f"cli-{uuid.uuid4()}")
    amount = f"{settled.amount} {settled.currency} to {settled.creditor}"
    out.print(
        f"Payment {settled.payment_id} ({amount}) is {settled.state}.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    if not_booked and settled.bank_reference is not None:
        err.print(
            f"The bank once gave it the reference {settled.bank_reference}, which its history "
            "keeps: if you have not asked for that one too, do.",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


@payments.command("after-restore")
def after_restore() -> None:
    """Give every open payment to a person; run it on a restored backup, before the service starts.

    paydesk payments after-restore
    """
    with _office() as office:
        given = office.after_restore(f"cli-{uuid.uuid4()}")
    out.print(
        f"Open payments that wait for a person now: {given}. What was paid after the backup is not "
        "in it: compare with the bank's statement before anything is paid anew.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


@models.command("list")
def list_models(tracking_uri: TrackingUri = "") -> None:
    """Show every version with its aliases and figures.

    paydesk models list
    """
    from paydesk.registry.kinds import KINDS  # noqa: PLC0415
    from paydesk.registry.versions import versions  # noqa: PLC0415

    client = _store(tracking_uri)
    table = Table()
    for heading in ("model", "version", "aliases", "registered", "decisive figure", "data"):
        table.add_column(heading)
    for name, kind in KINDS.items():
        for version in versions(client, name):
            registered = datetime.fromtimestamp(version.created_ms / 1000, UTC)
            figure = version.metrics.get(kind.decisive)
            table.add_row(
                name,
                version.number,
                ", ".join(f"@{alias}" for alias in version.aliases),
                f"{registered:%Y-%m-%d %H:%M} UTC",
                "–" if figure is None else f"{kind.decisive} {figure:.4f}",
                version.tags.get("data.sha256", "")[:12],
            )
    if not table.row_count:
        err.print("No models yet. `make serve` trains them.")
    else:
        out.print(table)


@models.command()
def promote(
    model: Annotated[str, typer.Argument(help="risk or entities")],
    version: Annotated[str, typer.Argument(help="A version's number or alias.")] = "challenger",
    force: Annotated[
        bool, typer.Option("--force", help="Although it is worse, or a golden case fails.")
    ] = False,
    why: Annotated[str, typer.Option(help="The reason, recorded with the version.")] = "",
    tracking_uri: TrackingUri = "",
) -> None:
    """Make a version the champion, if it is no worse on the same held-out data.

    paydesk models promote risk 3
    """
    from paydesk.registry import promotion  # noqa: PLC0415
    from paydesk.registry.kinds import KINDS  # noqa: PLC0415
    from paydesk.registry.versions import named  # noqa: PLC0415

    if model not in KINDS:
        message = f"There is no model {model!r}; there are {' and '.join(KINDS)}."
        raise PaydeskError(message)
    if force and not why.strip():
        message = 'A forced promotion needs its reason: --force --why "…"'
        raise PaydeskError(message)
    client = _store(tracking_uri)
    compared = promotion.compare(client, KINDS[model], named(client, model, version))
    out.print(_comparison(compared))
    promotion.promote(client, compared, force=force, why=why)
    out.print(
        f"{model} version {compared.challenger.number} is @champion. Next: `paydesk models "
        "pull`, then start the service again: a running one keeps what it has."
    )


@models.command()
def pull(tracking_uri: TrackingUri = "") -> None:
    """Bring both champions into the BentoML store, after proof.

    paydesk models pull --tracking-uri http://mlflow.example:5000
    """
    from paydesk.registry.bento import pull_champions, registry_version  # noqa: PLC0415

    for model in pull_champions(_store(tracking_uri)):
        out.print(f"{model.tag} is version {registry_version(model)} of the registry.")


@contextmanager
def _rows_progress() -> Iterator[Callable[["RowsProgress"], None]]:
    """A bar on standard error, where that is a screen: rows, their rate, and the time left."""
    with Progress(
        TextColumn("Scoring"),
        BarColumn(),
        TextColumn("{task.fields[rows]:,} rows, {task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as bar:
        task = bar.add_task("", total=None, rows=0, rate=0.0)
        began = monotonic()

        def tell(now: "RowsProgress") -> None:
            rate = now.rows / max(monotonic() - began, 1e-9)
            bar.update(task, completed=now.read, total=now.size, rows=now.rows, rate=rate)

        yield tell


def _keys() -> "ApiKeys":
    from paydesk.storage.api_keys import ApiKeys  # noqa: PLC0415

    return ApiKeys(_database())


def _database() -> "Engine":
    from paydesk.storage.database import open_database  # noqa: PLC0415

    settings = Settings.read()
    return open_database(settings.database, may_migrate=settings.migration == "at_start")


@contextmanager
def _office() -> Iterator["PaymentOffice"]:
    """The office on the database that is there; the bank need not be configured."""
    from paydesk.payments.office import PaymentOffice  # noqa: PLC0415
    from paydesk.storage.database import open_existing  # noqa: PLC0415

    settings = Settings.read()
    engine = open_existing(settings.database)
    office = PaymentOffice(engine, settings.bank)
    try:
        yield office
    finally:
        office.close()
        engine.dispose()


def _all_payments(office: "PaymentOffice", state: "State | None") -> Iterator["PaymentRecord"]:
    cursor: str | None = None
    while True:
        page = office.payments(cursor, 200, state)
        for payment in page.payments:
            yield office.payment(payment.payment_id)
        cursor = page.next_cursor
        if cursor is None:
            return


def _plain(words: str) -> Text:
    """The words of others: no markup, and nothing that moves the cursor or turns a line round."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words))


def _when(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC):%Y-%m-%d %H:%M} UTC"


def _store(tracking_uri: str) -> "MlflowClient":
    from paydesk.tracking_store import open_store  # noqa: PLC0415
    from paydesk.tracking_store import tracking_uri as configured  # noqa: PLC0415

    return open_store(tracking_uri or configured(Settings()))


def _comparison(compared: "Comparison") -> Table:
    old = compared.champion
    table = Table(title=f"{compared.challenger.name} on the challenger's held-out data")
    table.add_column("metric")
    table.add_column(f"champion {old.number if old else '–'}", justify="right")
    table.add_column(f"version {compared.challenger.number}", justify="right")
    for metric, value in compared.challenger_metrics.items():
        before = compared.champion_metrics.get(metric)
        table.add_row(metric, "–" if before is None else f"{before:.4f}", f"{value:.4f}")
    return table
