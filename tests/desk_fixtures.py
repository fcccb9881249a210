"""The fixtures of the desk's tests: one Chromium a module, and the desks that it asks for."""

from collections.abc import Iterator

import pytest
from conftest import Trained
from desk_browser import FLAGS, Bank, Guarded, chromium, desk_service
from playwright.sync_api import Browser, Playwright, sync_playwright
from service_process import new_key


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """Playwright's driver, which needs no browser of its own."""
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """One browser; each window has a profile of its own."""
    browser = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def desk(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bank]:
    """A desk on this machine, where no payment is held."""
    settings = {"PAYDESK_HOLD_PAYMENTS_FROM": "NEVER"}
    with desk_service(trained, tmp_path_factory.mktemp("desk"), settings) as made, made.service:
        yield made


@pytest.fixture(scope="module")
def guarded(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A desk that asks for a key, where every payment above 3000 is held."""
    settings = {"PAYDESK_HOLD_PAYMENTS_FROM": "HIGH", "PAYDESK_ACCESS": "keys"}
    with desk_service(trained, tmp_path_factory.mktemp("guarded"), settings) as made:
        whole = new_key(made.service, "score", "read", "pay")
        looking = new_key(made.service, "score", "read")
        with made.service:
            yield Guarded(made, whole, looking)
