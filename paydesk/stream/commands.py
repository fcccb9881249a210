"""`paydesk stream …`: composes, decides nothing. The Kafka client is imported when used."""

import json
import platform
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from paydesk.errors import PaydeskError
from paydesk.settings import Settings
from paydesk.stream.topics import Topics

app = typer.Typer(
    no_args_is_help=True, help="Kafka: produce, score, alerts, dead show, dead replay."
)
dead = typer.Typer(no_args_is_help=True, help="Messages that are no transactions: show, replay.")
app.add_typer(dead, name="dead")

out = Console()
err = Console(stderr=True)

Topic = Annotated[
    str, typer.Option(help="The topic of transactions; by default PREFIXtransactions.")
]


@app.command()
def produce(
    file: Annotated[
        str, typer.Argument(help="As `paydesk score` takes it, or -. None: simulated ones.")
    ] = "",
    rate: Annotated[
        float, typer.Option(min=0, help="Transactions a second; 0: as fast as it goes.")
    ] = 0,
    rows: Annotated[int, typer.Option(min=0, help="How many are simulated; 0: until Ctrl-C.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed simulates the same ones.")] = 7,
    columns: Annotated[str, typer.Option(help="Your columns: amount=amt,tx_id=id,…")] = "",
    topic: Topic = "",
) -> None:
    """Send transactions to Kafka, from a file or simulated.

    paydesk stream produce transactions.csv --rate 100
    """
    from paydesk.bulk.rows import FIELDS  # noqa: PLC0415
    from paydesk.risk.columns import parse_columns  # noqa: PLC0415
    from paydesk.stream.kafka import Kafka  # noqa: PLC0415
    from paydesk.stream.produce import Sent, from_file, simulated  # noqa: PLC0415
    from paydesk.stream.produce import produce as send  # noqa: PLC0415

    settings = Settings.read()
    topic = Topics.of(settings, topic).transactions
    named = parse_columns(columns, FIELDS)
    blocks = from_file(file, named) if file else simulated(rows, seed)
    totals = Sent()
    with _until_stopped() as stop:
        send(Kafka(settings), topic, blocks, rate, totals, stop)
    _say(f"{totals.sent:,} transactions are in {topic}.")
    if totals.first_refused is not None:
        first = totals.first_refused
        _say(
            f"{totals.refused:,} rows were not sent, because /score would refuse them; the first "
            f"is in line {first.line}: {first.error}"
        )
        raise typer.Exit(3)


@app.command()
def score(
    via: Annotated[
        Literal["process", "api"], typer.Option(help="Score here, or ask a running service.")
    ] = "process",
    name: Annotated[
        str, typer.Option(help="This scorer's own; started again under it, it goes on at once.")
    ] = "",
    group: Annotated[
        str, typer.Option(help="Scorers of a group share the work; PREFIXscorers.")
    ] = "",
    metrics: Annotated[str, typer.Option(help="HOST:PORT for Prometheus; none by default.")] = "",
    most: Annotated[int, typer.Option(min=1, max=100_000, help="Messages in a batch.")] = 5_000,
    url: Annotated[str, typer.Option(help="The service, for --via api.")] = "http://127.0.0.1:3000",
    key: Annotated[str, typer.Option(envvar="PAYDESK_KEY", help="Its API key, if needed.")] = "",
    topic: Topic = "",
) -> None:
    """Score what comes, until Ctrl-C: decisions to one topic, HIGH and CRITICAL to alerts as well.

    paydesk stream score --name scorer-1 --metrics 127.0.0.1:9464
    """
    from paydesk.bulk.served import risk_model  # noqa: PLC0415
    from paydesk.storage.database import open_database  # noqa: PLC0415
    from paydesk.stream.deciding import Decider, InProcess  # noqa: PLC0415
    from paydesk.stream.kafka import Kafka  # noqa: PLC0415
    from paydesk.stream.metrics import StreamMetrics  # noqa: PLC0415
    from paydesk.stream.scoring import StreamScorer  # noqa: PLC0415
    from paydesk.stream.session import Group  # noqa: PLC0415

    settings = Settings.read()
    topics = Topics.of(settings, topic)
    us = Group(group or f"{settings.stream_prefix}scorers", name or platform.node() or "scorer")
    counted = StreamMetrics()
    if metrics:
        counted.serve(*_address(metrics))
    kafka = Kafka(settings)
    decider: Decider
    if via == "api":
        from paydesk.stream.service import MOST_AT_ONCE, ViaApi  # noqa: PLC0415

        decider, most = ViaApi(url, key or None), min(most, MOST_AT_ONCE)
    else:
        model = risk_model(settings)
        may_migrate = settings.migration == "at_start"
        engine = open_database(settings.database, may_migrate=may_migrate)
        decider = InProcess(model.scorer(), engine)
    scorer = StreamScorer(kafka, topics, us, decider, counted, most=most, tell=_say)
    try:
        with _until_stopped() as stop:
            scorer.run(stop)
    finally:
        decider.close()
    _say("Stopped; every message that was taken is decided.")


@app.command()
def alerts(
    from_start: Annotated[bool, typer.Option("--from-start", help="The old ones, too.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, until Ctrl-C.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="The messages as they are.")] = False,
) -> None:
    """Watch the alerts: decisions of HIGH and CRITICAL, as they come.

    paydesk stream alerts --json
    """
    from paydesk.stream.alerts import watch  # noqa: PLC0415
    from paydesk.stream.kafka import Kafka  # noqa: PLC0415

    settings = Settings.read()
    if not as_json:
        _line("level", "age, s", "id", "amount", "customer", "store", "why")
    with _until_stopped() as stop:
        watched = watch(Kafka(settings), Topics.of(settings), from_start=from_start, follow=follow)
        for alert in watched:
            if stop.is_set():
                return
            if alert is None:
                sys.stdout.flush()
            elif as_json:
                sys.stdout.buffer.write(alert.value.replace(b"\n", b" ") + b"\n")
            elif alert.decision is None:
                _line("?", f"{alert.age_s:.2f}", "no message of Paydesk's", "", "", "", "")
            else:
                told = alert.decision
                _line(
                    *(told.risk_level, f"{alert.age_s:.2f}", told.tx_id, told.amount),
                    *(told.customer_id or "–", told.store or "–", " ".join(told.reasons)),
                )


@dead.command("show")
def show(
    all_of_them: Annotated[
        bool, typer.Option("--all", help="Those that were replayed, too.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a letter, with its bytes.")
    ] = False,
) -> None:
    """Show the messages that were no transactions, with the reason and their place.

    paydesk stream dead show --json
    """
    from paydesk.stream.kafka import Kafka  # noqa: PLC0415
    from paydesk.stream.letters import DeadLetters  # noqa: PLC0415

    settings = Settings.read()
    table = Table()
    for heading in ("topic", "partition", "offset", "kind", "bytes", "reason"):
        table.add_column(heading, overflow="fold")
    for letter in DeadLetters(Kafka(settings), Topics.of(settings)).letters(
        replayed_too=all_of_them
    ):
        if as_json:
            sys.stdout.write(json.dumps(letter.as_json(), ensure_ascii=False) + "\n")
            continue
        at = letter.position
        cells = (
            at.topic,
            str(at.partition),
            str(at.offset),
            letter.kind,
            f"{letter.size:,}",
            letter.reason,
        )
        table.add_row(*(Text(_printable(cell)) for cell in cells))
    if table.row_count:
        out.print(table)
    elif not as_json:
        _say("No dead letters.")


@dead.command("replay")
def replay() -> None:
    """Send them to their topic again, each once; one without a key gets its customer's.

    paydesk stream dead replay
    """
    from paydesk.stream.kafka import Kafka  # noqa: PLC0415
    from paydesk.stream.letters import DeadLetters  # noqa: PLC0415

    settings = Settings.read()
    done = DeadLetters(Kafka(settings), Topics.of(settings)).replay()
    _say(f"{done.sent:,} messages were sent again.")
    for letter in done.cut:
        at = letter.position
        _say(
            f"That of {at.topic}, partition {at.partition}, offset {at.offset}, was "
            f"not: its letter has {len(letter.value):,} of {letter.size:,} bytes."
        )
    if done.cut:
        raise typer.Exit(3)


@contextmanager
def _until_stopped() -> Iterator[Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C ends at once."""
    stop = Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {name: signal.signal(name, end) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65_536:
        raise PaydeskError(f"--metrics takes HOST:PORT like 127.0.0.1:9464, not {text!r}.")
    return host, int(port)


def _line(*cells: str) -> None:
    """A row of a table without end. The words of others move no cursor."""
    widths = (8, 7, 18, 12, 12, 10, 0)
    shown = (_printable(cell).ljust(width) for cell, width in zip(cells, widths, strict=True))
    sys.stdout.write("  ".join(shown).rstrip() + "\n")


def _printable(words: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)


def _say(sentence: str) -> None:
    err.print(sentence, highlight=False, markup=False, soft_wrap=True)
