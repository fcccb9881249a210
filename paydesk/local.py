"""Everything on this machine: models made and pulled, the sandbox bank, and the service."""

import json
import os
import re
import shlex
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pydantic import SecretStr
from rich.console import Console

from paydesk.certificate import Certificate, local_certificate
from paydesk.errors import PaydeskError
from paydesk.payments.sandbox import sandbox_settings
from paydesk.settings import Settings

HOST = "127.0.0.1"
_READY_S = 60.0
_STOP_S = 15.0
_LOOK_EVERY_S = 0.5
_LAST_LINES = 60
_FIRST = "training.first"
# The Gmail extension, by the key in its manifest.
EXTENSION = "chrome-extension://ompbfbchcndomiefloaccgijjghfadeb"


class PortTakenError(PaydeskError):
    """Another program listens on the port."""


class StartError(PaydeskError):
    """A part did not start; the message names its log."""


def serve(settings: Settings, port: int, console: Console, *, tls: bool = False) -> None:
    """Serves until Ctrl-C or SIGTERM, and leaves nothing running; with `tls` over HTTPS.

    Raises PortTakenError or StartError.
    """
    refuse_taken(port, f"make serve PORT={port + 1}")
    # Payments and names are in there: for this user's eyes only.
    os.umask(0o077)
    home = settings.home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o700)
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupt)
    with ExitStack() as parts, suppress(KeyboardInterrupt):
        bank = parts.enter_context(_sandbox_bank(home))
        _prepare_models(settings, home)
        certificate = local_certificate(home / "tls") if tls else None
        service = parts.enter_context(_service(home, port, bank.settings, certificate))
        console.print(_welcome(port, certificate), highlight=False, markup=False, soft_wrap=True)
        _watch({"The sandbox bank": bank.process, "The service": service}, home)
    console.print("Stopped.")


def curl_lines(port: int, key: str, certificate: Certificate | None = None) -> list[str]:
    """Three requests to paste: a score, a mail, and a payment with a key of its own."""
    bodies: list[tuple[str, dict[str, object], str]] = [
        ("score", {"tx_id": "TX003", "amount": 4500.0, "category": "electronics", "hour": 3}, ""),
        (
            "predict",
            {"email": "Please pay 1,250.00 EUR to Northwind Traders Ltd from Contoso GmbH."},
            "",
        ),
        (
            "payment",
            {
                "accountA": "Northwind Traders Ltd",
                "accountB": "Contoso GmbH",
                "amount": "1250.00",
                "currency": "EUR",
            },
            f" -H 'Idempotency-Key: {key}'",
        ),
    ]
    url = _url(port, certificate)
    trust = f"--cacert {shlex.quote(str(certificate.authority))} " if certificate else ""
    return [
        f"curl -s {trust}{url}/{route} -H 'Content-Type: application/json'{extra} "
        f"-d '{json.dumps(body)}'"
        for route, body, extra in bodies
    ]


def _url(port: int, certificate: Certificate | None) -> str:
    return f"{'http' if certificate is None else 'https'}://{HOST}:{port}"


def _welcome(port: int, certificate: Certificate | None) -> str:
    url = _url(port, certificate)
    lines = "\n".join(f"  {line}" for line in curl_lines(port, str(uuid.uuid4()), certificate))
    trust = f" --cacert {shlex.quote(str(certificate.authority))}" if certificate else ""
    return (
        f"\nPaydesk is at {url} (payments go to the sandbox bank: no money moves). "
        f"Try:\n{lines}\n\nCtrl-C stops it. In another terminal, .paydesk/venv/bin/paydesk try "
        f"--url {url}{trust} sends ten examples, and make ui shows the models."
    )


def _prepare_models(settings: Settings, home: Path) -> None:
    """Trains what the registry lacks and pulls the champions, unless they are what is stored."""
    stamp = home / "models.stamp"
    champions = None if settings.tracking_uri else _champions(settings.mlruns / "mlflow.db")
    if champions and stamp.exists() and stamp.read_text(encoding="utf-8") == champions:
        return
    # SIGINT lets a training that is stopped take its unfinished run away again.
    with _process([sys.executable, "-m", _FIRST], None, {}, stop=signal.SIGINT) as training:
        code = training.wait()
    if code != 0:
        message = "The models could not be made ready; the lines above say why."
        raise StartError(message)
    if not settings.tracking_uri:
        stamp.write_text(_champions(settings.mlruns / "mlflow.db") or "", encoding="utf-8")
    else:
        stamp.unlink(missing_ok=True)


def _champions(database: Path) -> str | None:
    """The store's place and its champions, in one line; None where that is not to be had.

    Asked of the file itself: to import MLflow takes longer than all else at a start.
    """
    if not database.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as store:
            found = store.execute(
                "SELECT v.name, v.version, v.run_id FROM registered_model_aliases a "
                "JOIN model_versions v ON v.name = a.name AND v.version = a.version "
                "WHERE a.alias = 'champion' ORDER BY v.name"
            ).fetchall()
    except sqlite3.Error:
        return None  # What is wrong with it, whoever opens it in earnest says.
    return json.dumps([str(database.resolve()), os.environ.get("BENTOML_HOME", ""), *found])


@dataclass(frozen=True)
class _Bank:
    """The sandbox bank's process, and the settings by which the service reaches it."""

    process: subprocess.Popen[bytes]
    settings: dict[str, str]


@contextmanager
def _sandbox_bank(home: Path) -> Iterator[_Bank]:
    port = _free_port()
    command = [sys.executable, "-m", "paydesk", "bank", "--port", str(port)]
    with _process(command, home / "bank.log", {}) as process:
        _wait(process, f"http://{HOST}:{port}/", home / "bank.log", "The sandbox bank")
        settings = sandbox_settings(f"http://{HOST}:{port}")
        yield _Bank(
            process,
            {
                f"PAYDESK_BANK_{name.upper()}": _text(value)
                for name, value in settings
                if name in settings.model_fields_set
            },
        )


def _text(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


@contextmanager
def _service(
    home: Path, port: int, bank: dict[str, str], certificate: Certificate | None
) -> Iterator[subprocess.Popen[bytes]]:
    # Not `bentoml serve`: its process supervisor takes commands from any local user on a TCP port.
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "service:Paydesk.to_asgi"),
        *("--host", HOST, "--port", str(port), "--no-access-log", "--no-server-header"),
        *("--http", "paydesk.web.protocol:GuardedProtocol"),
    ]
    if certificate is not None:
        command += ["--ssl-certfile", str(certificate.chain), "--ssl-keyfile", str(certificate.key)]
    log = home / "service.log"
    # It listens on this machine alone: nobody else is there to show a key.
    access = {"PAYDESK_ACCESS": "local", "PAYDESK_ALLOWED_ORIGINS": EXTENSION}
    if origins := os.environ.get("PAYDESK_ALLOWED_ORIGINS"):
        access["PAYDESK_ALLOWED_ORIGINS"] = f"{origins} {EXTENSION}"
    with _process(command, log, {**bank, **access}) as process:
        trust = None if certificate is None else certificate.client
        _wait(process, f"{_url(port, certificate)}/health", log, "The service", trust)
        yield process


@contextmanager
def _process(
    command: list[str],
    log: Path | None,
    extra: dict[str, str],
    *,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its children, ended at the latest when this one ends."""
    with ExitStack() as files:
        output = None if log is None else files.enter_context(log.open("ab"))
        # A session of its own: Ctrl-C reaches this process first, which stops its parts in order.
        process = subprocess.Popen(  # noqa: S603 (our own words)
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=None if output is None else subprocess.STDOUT,
            env={**os.environ, **extra},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, stop)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(
    process: subprocess.Popen[bytes],
    url: str,
    log: Path,
    what: str,
    trust: ssl.SSLContext | None = None,
) -> None:
    give_up = time.monotonic() + _READY_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            message = f"{what} stopped at its start: {_last_words(log)} (all of it: {log})"
            raise StartError(message)
        try:
            with urllib.request.urlopen(url, timeout=1, context=trust):  # noqa: S310 (to ourselves)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    message = f"{what} is not ready after {_READY_S:.0f} s; its log is {log}."
    raise StartError(message)


def _watch(parts: dict[str, subprocess.Popen[bytes]], home: Path) -> None:
    while True:
        for name, process in parts.items():
            if process.poll() is not None:
                message = (
                    f"{name} ended by itself (code {process.returncode}); its log is in {home}. "
                    "Start again with make serve."
                )
                raise StartError(message)
        time.sleep(_LOOK_EVERY_S)


def _last_words(log: Path) -> str:
    """What a part said of its end: its last error that was meant for a person, or its last line."""
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    for line in reversed(lines[-_LAST_LINES:]):
        if meant := re.match(r"paydesk\.[\w.]+Error: (.+)", line):
            return meant.group(1)
    return lines[-1].strip() if lines else "it said nothing"


def refuse_taken(port: int, instead: str) -> None:
    """Raises PortTakenError, which names `instead` as the next step."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            message = (
                f"Port {port} is taken by another program. Stop it, or choose another port: "
                f"{instead}"
            )
            raise PortTakenError(message) from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
