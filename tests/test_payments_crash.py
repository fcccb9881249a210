"""Money moves once, though the bank fails in half of all calls and the service is killed (-9).

A small run is always made. PAYDESK_CRASH_PAYMENTS=1000 makes it as large as it was specified.
"""

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from payments_bank import QUICK
from payments_clock import Clock
from sqlalchemy import Engine, select

from paydesk.payments.office import PaymentOffice
from paydesk.payments.sandbox import sandbox_settings
from paydesk.storage import tables
from paydesk.storage.database import open_database

pytest_plugins = ["payments_fixtures"]

_HERE = Path(__file__).parent
_PAYMENTS = int(os.environ.get("PAYDESK_CRASH_PAYMENTS", "40"))
_CLIENTS = 20
_LIVES_S = (1.0, 2.0) if _PAYMENTS < 500 else (3.0, 6.0)
_GIVE_UP_S = 90 + _PAYMENTS
_SANDBOX = (
    "import sys; from pathlib import Path; from paydesk.payments.sandbox import *; "
    "run('127.0.0.1', int(sys.argv[1]), Path(sys.argv[2]), "
    "SandboxOptions(fault_rate=0.5, seed=int(sys.argv[3]), settles_after_s=0.0))"
)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Process:
    """A process that serves on a port, and can be killed and started again."""

    def __init__(self, port: int, *command: str) -> None:
        self._port = port
        self._command = command
        self.kills = 0
        self.start()

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_HERE), str(_HERE.parent)])}
        # Its log of requests would bury the counts; what goes wrong is on standard error.
        self._process = subprocess.Popen(
            [sys.executable, *self._command], env=environment, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert self._process.poll() is None, f"{self._command[0]} ended"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{self._command[0]} did not start")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self.kills += 1


@contextmanager
def _killing(server: _Process, chance: random.Random) -> Iterator[None]:
    """Kills the server every few seconds and starts it again, until the block ends."""
    over = threading.Event()

    def kill() -> None:
        while not over.wait(chance.uniform(*_LIVES_S)):
            server.kill()
            server.start()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield
    finally:
        over.set()
        killer.join()


def _pay_until_told(url: str, number: int) -> int:
    """The last status: 201 or 422. Repeats with its one key whatever else comes."""
    chance = random.Random(number)
    body = {
        "accountA": f"Payee {number}",
        "accountB": "Bob",
        "amount": f"{number}.{number % 90 + 10}",
    }
    give_up = time.monotonic() + _GIVE_UP_S
    for attempt in range(1_000_000):
        headers = {"Idempotency-Key": f"key-{number}", "X-Request-ID": f"{number}-{attempt}"}
        try:
            status = requests.post(
                f"{url}/payment", json=body, headers=headers, timeout=5
            ).status_code
        except requests.RequestException:
            status = 0
        if status in {201, 422}:
            return status
        assert status in {0, 409, 503, 504}, f"payment {number} was answered {status}"
        assert time.monotonic() < give_up, f"payment {number} was still answered {status}"
        time.sleep(chance.uniform(0.05, 0.5))
    raise AssertionError("unreachable")


def _reconcile_all(engine: Engine, bank_url: str) -> None:
    """What a server does within its first minutes, when the bank is well again."""
    clock = Clock()
    clock.advance(120)  # Every lease is over, every question is due.
    office = PaymentOffice(engine, sandbox_settings(bank_url, **QUICK), clock=clock)
    office.reconcile()
    office.close()


@pytest.mark.timeout(3_600)
def test_every_payment_is_booked_once_or_not_at_all_whatever_crashes(
    tmp_path: Path, database_url: str, forest: Path
) -> None:
    chance = random.Random(_PAYMENTS)
    bank_port, port = _free_port(), _free_port()
    bank_url, url = f"http://localhost:{bank_port}", f"http://localhost:{port}"
    bank = _Process(bank_port, "-c", _SANDBOX, str(bank_port), str(tmp_path / "bank"), "1")
    script = str(_HERE / "payments_service.py")
    server = _Process(port, script, str(port), database_url, bank_url, str(forest))
    engine = open_database(database_url)
    began = time.monotonic()
    try:
        with _killing(server, chance), ThreadPoolExecutor(_CLIENTS) as clients:
            told = list(clients.map(lambda n: _pay_until_told(url, n), range(1, _PAYMENTS + 1)))
        took_s = time.monotonic() - began
        server.kill()
        bank.kill()
        bank.start()
        requests.delete(f"{bank_url}/sandbox/faults", timeout=10).raise_for_status()
        _reconcile_all(engine, bank_url)
        shown = requests.get(f"{bank_url}/sandbox/books", timeout=10).json()["bookings"]
        assert server.kills >= 2
    finally:
        server.kill()
        bank.kill()
    with engine.connect() as connection:
        ledger = connection.execute(select(tables.payments)).all()
        events = connection.execute(select(tables.payment_events.c.state)).scalars().all()
    engine.dispose()

    books = {booking["end_to_end"]: booking for booking in shown}
    booked = Counter(booking["end_to_end"] for booking in shown)
    states = Counter(row.state for row in ledger)
    moved = {end for end, booking in books.items() if booking["status"] != "RJCT"}
    mine = {row.payment_id.replace("-", ""): row for row in ledger}
    accepted = {end for end, row in mine.items() if row.state == "accepted"}
    counts = {
        "payments": len(ledger),
        "told accepted": told.count(201),
        "told rejected": told.count(422),
        "accepted": states["accepted"],
        "rejected": states["rejected"],
        "left open": len(ledger) - states["accepted"] - states["rejected"],
        "bookings": len(shown),
        "booked twice": sum(1 for times in booked.values() if times > 1),
        "accepted and not booked": len(accepted - moved),
        "booked and not accepted": len(moved - accepted),
        "replays at the bank": sum(booking["replays"] for booking in shown),
        "calls of the bank begun": events.count("sent"),
        "kills (-9) of the server": server.kills - 1,
        "seconds": round(took_s),
    }
    sys.stdout.write("\n" + "".join(f"{n:>8} {name}\n" for name, n in counts.items()))

    assert counts["payments"] == _PAYMENTS
    assert counts["left open"] == 0
    assert counts["booked twice"] == 0
    assert counts["accepted and not booked"] == 0
    assert counts["booked and not accepted"] == 0
    for end in accepted:
        row, booking = mine[end], books[end]
        assert (booking["reference"], booking["key"]) == (row.bank_reference, row.bank_key)
        assert (booking["amount"], booking["currency"]) == (row.amount, row.currency)
        assert (booking["creditor"], booking["debtor"]) == (row.creditor, row.debtor)
