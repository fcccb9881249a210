"""Debian's Chromium, driven by Playwright, before the real service and the sandbox bank."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import Trained
from payments_bank import RunningSandbox, bank_environment, running_sandbox
from playwright.sync_api import Browser, ConsoleMessage, Page, expect
from service_process import Service

from paydesk.payments.sandbox import SandboxOptions
from paydesk.payments.sandbox_books import Booking

expect.set_options(timeout=20_000)  # Some machines are many times as slow as others.

Size = Literal["phone", "desktop"]
Scheme = Literal["light", "dark"]
Input = Literal["keyboard", "mouse"]

SIZES: dict[Size, tuple[int, int]] = {"phone": (360, 760), "desktop": (1280, 900)}
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
MAIL = "Hi Anna,\n\nplease pay invoice 2231 from Contoso GmbH: EUR 125.00 to {payee}, by Friday.\n"
_WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@dataclass
class Bank:
    """A service and the sandbox bank behind it."""

    service: Service
    bank: RunningSandbox

    def booked(self, payee: str) -> list[Booking]:
        """What the bank has booked for a payee: every test has one of its own."""
        return [booking for booking in self.bank.books.bookings() if booking.creditor == payee]


@dataclass(frozen=True)
class Guarded:
    """A desk with a key that may pay and one that may not."""

    desk: Bank
    paying: str
    looking: str


def pictures(otherwise: Path) -> Path:
    """Where pictures for the documentation go: an ordinary run changes nothing in the work tree."""
    folder = Path(os.environ.get("PAYDESK_SCREENSHOTS") or otherwise)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def chromium() -> str:
    """Chromium's path; without it the test is skipped, and in CI it fails."""
    found = shutil.which("chromium")
    if found is None:
        message = "Chromium is not installed: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


@dataclass
class Window:
    """A page and everything that went wrong in it."""

    page: Page
    said: list[str] = field(default_factory=list)

    def hear(self, message: ConsoleMessage) -> None:
        """Keeps what is an error of ours: an answer that is no success is none."""
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.said.append(message.text)

    def accessible(self) -> None:
        """Fails the test with what axe finds."""
        found = Axe().run(self.page, options={"runOnly": {"type": "tag", "values": _WCAG}})
        assert found.violations_count == 0, found.generate_report()
        width = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, f"{width} pixels wider than the window"


@contextmanager
def window(
    browser: Browser, url: str, size: Size = "desktop", scheme: Scheme = "light"
) -> Iterator[Window]:
    """The desk in a window; no error is left unseen in its console."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=scheme,
        reduced_motion="reduce",
        locale="en-GB",
        accept_downloads=True,
    )
    page = context.new_page()
    page.set_default_timeout(30_000)
    opened = Window(page)
    page.on("console", opened.hear)
    page.on("pageerror", lambda error: opened.said.append(str(error)))
    page.goto(url)
    yield opened
    context.close()
    assert opened.said == []


@contextmanager
def desk_service(trained: Trained, home: Path, settings: dict[str, str]) -> Iterator[Bank]:
    """A service of its own, whose bank does as the test says."""
    with running_sandbox(home, SandboxOptions(settles_after_s=0.0)) as bank:
        reached = bank_environment(bank, read_timeout_s=10.0, deadline_s=25.0)
        yield Bank(Service(trained, home, {**reached, **settings}), bank)


def scorer(name: str, state: str = "scoring") -> dict[str, Any]:
    """What a scorer of a stream says of itself."""
    return {
        "group": "bank.scorers",
        "name": name,
        "topic": "bank.transactions",
        "state": state,
        "decisions": 48_210,
        "dead_letters": 2,
        "waiting": 12,
        "per_second": 1510.5,
        "to_alert_ms": 61,
    }


def payee() -> str:
    """A name that no other test pays, of letters, as names are."""
    letters = uuid.uuid4().hex[:8].translate(str.maketrans("0123456789abcdef", "abcdefghijklmnop"))
    return f"Harper {letters.capitalize()} Ltd"


def fill(page: Page, to: str, amount: str = "12.50") -> None:
    """The form, typed by hand."""
    page.get_by_role("textbox", name="Payee who is paid").fill(to)
    page.get_by_role("textbox", name="Payer who pays").fill("Contoso GmbH")
    page.get_by_role("textbox", name="Amount").fill(amount)
    page.get_by_role("combobox", name="Currency").fill("EUR")


def press(page: Page, name: str, how: Input = "mouse") -> None:
    """A button, by a click or with the keyboard."""
    button = page.get_by_role("button", name=name, exact=True)
    if how == "mouse":
        button.click()
        return
    expect(button).to_be_enabled()
    for _ in range(60):
        if button.evaluate("it => it === document.activeElement"):
            page.keyboard.press("Enter")
            return
        page.keyboard.press("Tab")
    pytest.fail(f"the keyboard does not reach {name!r}")


def confirm(page: Page, to: str, amount: str = "12.50") -> None:
    """A payment, typed by hand, reviewed and confirmed."""
    fill(page, to, amount)
    press(page, "Review the payment")
    press(page, "Confirm and pay")


def sign_in(page: Page, key: str) -> None:
    """The key, typed and sent with Enter."""
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
