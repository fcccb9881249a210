"""The whole stream on this machine: broker, service, scorer, producer, alerts on the screen.

python -m deploy.stream_demo --port 3000
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from deploy.broker import Broker, jars
from paydesk.errors import PaydeskError
from paydesk.local import refuse_taken
from paydesk.settings import Settings

_METRICS = "127.0.0.1:9464"
_STOP_S = 20.0
_LOOK_EVERY_S = 0.5


class DemoError(PaydeskError):
    """A part of it ended; the message names its log."""


def main(
    port: Annotated[int, typer.Option(help="The service's.")] = 3000,
    broker_port: Annotated[int, typer.Option(help="The broker's.")] = 9092,
    rate: Annotated[float, typer.Option(help="Transactions a second.")] = 50,
) -> None:
    """Runs until Ctrl-C, and leaves nothing running."""
    try:
        _run(Settings.read(), port, broker_port, rate)
    except PaydeskError as error:
        raise SystemExit(f"Error: {error}") from None


def _run(settings: Settings, port: int, broker_port: int, rate: float) -> None:
    for one, instead in ((port, "PORT"), (broker_port, "BROKER_PORT")):
        refuse_taken(one, f"make stream-demo {instead}={one + 1}")
    for stops in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(stops, _interrupt)
    home = settings.home.resolve()
    os.environ["PAYDESK_BROKERS"] = f"127.0.0.1:{broker_port}"
    with ExitStack() as parts, suppress(KeyboardInterrupt):
        _say("The broker: fetched where it is missing (54 MB), then started.")
        classpath = jars("kafka", home / "cache")
        broker = Broker(home / "broker", classpath, broker_port, _free_port())
        parts.callback(broker.stop)
        broker.start()
        _say("The service: models are trained where there are none.")
        log = home / "demo-service.log"
        service = parts.enter_context(_paydesk(log, "serve", "--port", str(port)))
        _wait_for(service, log, "Ctrl-C stops it")
        log = home / "demo-scorer.log"
        words = ("score", "--name", "demo", "--metrics", _METRICS)
        scorer = parts.enter_context(_paydesk(log, "stream", *words))
        _wait_for(scorer, log, "Ctrl-C stops it")
        log = home / "demo-producer.log"
        producer = parts.enter_context(_paydesk(log, "stream", "produce", "--rate", str(rate)))
        _say(
            f"{rate:g} transactions a second are scored; the desk is at http://127.0.0.1:{port}/, "
            f"metrics at http://{_METRICS}/metrics. Alerts, as they come; Ctrl-C stops it all."
        )
        alerts = parts.enter_context(_paydesk(None, "stream", "alerts"))
        running = {"service": service, "scorer": scorer, "producer": producer, "alerts": alerts}
        while True:
            for name, process in running.items():
                if process.poll() is not None:
                    raise DemoError(f"The {name} ended by itself; {home}/demo-{name}.log says why.")
            time.sleep(_LOOK_EVERY_S)
    _say("Stopped.")


@contextmanager
def _paydesk(log: Path | None, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """`paydesk WORDS`, ended at the latest when this process ends."""
    with ExitStack() as files:
        output = None if log is None else files.enter_context(log.open("wb"))
        # A session of its own: Ctrl-C reaches this process alone, which ends its parts in order.
        process = subprocess.Popen(  # noqa: S603 (our own words)
            [sys.executable, "-m", "paydesk", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], log: Path, said: str) -> None:
    while said not in (text := log.read_text("utf-8", "replace")):
        if process.poll() is not None:
            last = text.strip().splitlines()[-1:] or ["it said nothing"]
            raise DemoError(f"{last[0]} (all of it: {log})")
        time.sleep(_LOOK_EVERY_S)


def _say(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    typer.run(main)
