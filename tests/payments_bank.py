"""A sandbox bank on a real socket, in a thread, for the payment tests."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from paydesk.payments.payment import Payment
from paydesk.payments.sandbox import Sandbox, SandboxOptions, sandbox_settings
from paydesk.payments.sandbox_books import Books
from paydesk.payments.sandbox_faults import FAULTS, Call
from paydesk.settings import BankSettings

# Short, so that a test of a bank that stalls takes seconds; longer than the fault "slow" waits.
QUICK = {"connect_timeout_s": 1.0, "read_timeout_s": 0.6, "deadline_s": 2.5}


class RunningSandbox:
    """The sandbox and its address; `books` and `faults` are looked at from the test's thread."""

    def __init__(self, sandbox: Sandbox, url: str) -> None:
        self._sandbox = sandbox
        self.faults = sandbox.faults
        self.url = url

    def settings(self, **changes: Any) -> BankSettings:
        settings = {"base_url": self.url, **QUICK, **changes}
        return sandbox_settings(settings.pop("base_url"), **settings)

    @property
    def books(self) -> Books:
        return self._sandbox.books

    @contextmanager
    def fresh_books(self, folder: Path) -> Iterator[None]:
        before, self._sandbox.books = self._sandbox.books, Books(folder / "fresh.db")
        options = self._sandbox.options
        try:
            yield
        finally:
            self._sandbox.options = options
            self.faults.clear()
            self._sandbox.books.close()
            self._sandbox.books = before

    def token_life_s(self, seconds: float) -> None:
        """Tokens given out from now on are good for so long."""
        self._sandbox.options = replace(self._sandbox.options, token_life_s=seconds)

    def order(self, fault: str, call: Call = "initiate", times: int = 1) -> None:
        self.faults.order(FAULTS[fault], call, times)


@contextmanager
def running_sandbox(
    folder: Path,
    options: SandboxOptions | None = None,
    *,
    port: int = 0,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Iterator[RunningSandbox]:
    """Serves until the block ends; with the same `folder` it goes on with the same books."""
    books = Books(folder / "sandbox.db")
    sandbox = Sandbox(books, options or SandboxOptions())
    server = sandbox.server("127.0.0.1", port, certificate, key)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline, "the sandbox did not start"
            time.sleep(0.01)
        taken = server.servers[0].sockets[0].getsockname()[1]
        scheme = "http" if certificate is None else "https"
        yield RunningSandbox(sandbox, f"{scheme}://localhost:{taken}")
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join()
        books.close()


def bank_environment(bank: RunningSandbox, **changes: Any) -> dict[str, str]:
    """The settings by which a service reaches the sandbox bank."""
    settings = bank.settings(**changes)
    return {
        f"PAYDESK_BANK_{name.upper()}": getattr(value, "get_secret_value", lambda v=value: str(v))()
        for name, value in settings
        if name in settings.model_fields_set
    }


def a_payment(**changes: Any) -> Payment:
    """100.00 EUR from Bob to Alice, or what `changes` make of it."""
    return Payment.model_validate(
        {"accountA": "Alice", "accountB": "Bob", "amount": "100.00", **changes}
    )
