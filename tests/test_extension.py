"""The Gmail extension, unpacked in a real browser, before a page that imitates Gmail."""

import hashlib
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT, Running
from desk_browser import FLAGS, chromium, pictures
from playwright.sync_api import BrowserContext, Page, Playwright, expect

from deploy.extension import SHARED, lay_out
from paydesk.local import EXTENSION

pytest_plugins = ["desk_fixtures"]

PAYEE = "Harper Ltd"
MAIL = f"please pay invoice 2231 from Contoso GmbH: EUR 125.00 to {PAYEE}, by Friday."
GMAIL = """<!doctype html><title>Gmail</title><div role=main><h2>Old talk</h2>
<div role=listitem data-message-id=1><div class="a3s">An older message.</div></div></div>
<div role=dialog><input name=subjectbox value="Invoice 2231">
<div role=textbox contenteditable=true g_editable=true aria-multiline=true>Hi Anna,<br><br>
MAIL<br>&lt;img src=x onerror=alert(1)&gt;</div></div>""".replace("MAIL", MAIL)
READING = f"""<!doctype html><title>Gmail</title><div role=main><h2>Invoice 2231</h2>
<div role=listitem data-message-id=1><div class="a3s">An older message.</div></div>
<div role=listitem data-message-id=2><div class="a3s">{MAIL}</div></div></div>"""
OTHER = f"<!doctype html><title>Elsewhere</title><p>{MAIL}</p>"
PAGES = {"/mail/draft": GMAIL, "/mail/read": READING, "/other": OTHER}


@pytest.fixture
def loaded(playwright: Playwright, tmp_path: Path) -> Iterator[BrowserContext]:
    """A browser with the extension, and pages that stand where Gmail's do."""
    with extension(playwright, tmp_path) as context:
        yield context


@contextmanager
def extension(playwright: Playwright, home: Path) -> Iterator[BrowserContext]:
    """The extension as laid out; one permission more stands for the click in the toolbar."""
    folder = home / "extension"
    lay_out(folder)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    # No program can click a toolbar's button, which is what lets the panel read the tab.
    manifest["host_permissions"] = ["https://mail.google.com/*"]
    (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    context = playwright.chromium.launch_persistent_context(
        home / "profile",
        executable_path=chromium(),
        headless=True,
        args=[*FLAGS, f"--disable-extensions-except={folder}", f"--load-extension={folder}"],
        viewport={"width": 400, "height": 800},
    )
    context.set_default_timeout(10_000)

    def page(name: str) -> str:
        return PAGES[name.removeprefix("https://mail.google.com")]

    context.route(
        "https://mail.google.com/**",
        lambda route: route.fulfill(body=page(route.request.url), content_type="text/html"),
    )
    yield context
    context.close()


def configured(context: BrowserContext, url: str) -> Page:
    """The options with the address of the running service, checked and saved."""
    page = context.new_page()
    page.goto(f"{EXTENSION}/options.html")
    page.get_by_label("Address of the service").fill(url)
    page.get_by_role("button", name="Check and save").click()
    expect(page.locator("#said")).to_contain_text("its bank is sandbox")
    return page


def panel(context: BrowserContext, mail: str) -> Page:
    """The panel beside a page: that page is the tab that was looked at last."""
    opened = context.new_page()
    opened.goto(f"{EXTENSION}/panel.html")
    beside = context.new_page()
    beside.goto(f"https://mail.google.com{mail}")
    beside.bring_to_front()
    opened.get_by_role("button", name="Read the open mail").click()
    return opened


def accessible(page: Page) -> None:
    """Fails the test with what axe finds."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_draft_is_read_confirmed_and_paid(loaded: BrowserContext, running: Running) -> None:
    accessible(configured(loaded, running.url))
    page = panel(loaded, "/mail/draft")
    expect(page.locator("#said")).to_have_text("This is the draft.")
    expect(page.get_by_text("Sandbox bank")).to_be_visible()
    text = page.get_by_role("textbox", name="Mail").input_value()
    assert text.startswith("Subject: Invoice 2231\n\nHi Anna,")
    assert "<img src=x onerror=alert(1)>" in text
    assert page.locator("img[src=x]").count() == 0
    expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value(PAYEE)
    accessible(page)
    page.get_by_role("button", name="Review the payment").click()
    expect(page.locator(".step")).to_contain_text(f"Pay 125.00 EUR to {PAYEE}")
    page.get_by_role("button", name="Confirm and pay").click()
    outcome = page.get_by_role("heading", name=re.compile("The bank has the payment|Paid|Held"))
    expect(outcome).to_be_visible(timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_open_message_is_read_as_in_the_picture(
    loaded: BrowserContext, running: Running, tmp_path: Path
) -> None:
    configured(loaded, running.url)
    page = panel(loaded, "/mail/read")
    expect(page.locator("#said")).to_have_text("This is the open message.")
    expect(page.get_by_role("textbox", name="Amount")).to_have_value("125.00")
    page.screenshot(path=pictures(tmp_path / "pictures") / "extension.png")


def test_where_no_mail_is_found_selecting_and_pasting_are_offered(
    loaded: BrowserContext, running: Running
) -> None:
    configured(loaded, running.url)
    page = panel(loaded, "/other")
    expect(page.locator("#said")).to_contain_text("No mail was found on this page")
    expect(page.locator("#said")).to_contain_text("paste it below")
    # What the menu of a selected text does.
    worker = loaded.service_workers[0]
    worker.evaluate("text => chrome.storage.session.set({ mail: { text, at: Date.now() } })", MAIL)
    expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value(PAYEE)
    assert worker.evaluate("chrome.storage.session.get('mail')") == {}


def test_wrong_options_are_told_and_not_kept(loaded: BrowserContext, running: Running) -> None:
    page = configured(loaded, running.url)
    for address, told in (
        ("http://desk.example", "https alone"),
        ("nonsense", "Write an address like"),
        ("http://127.0.0.1:9", "No answer from"),
    ):
        page.get_by_label("Address of the service").fill(address)
        page.get_by_role("button", name="Check and save").click()
        expect(page.locator("#said")).to_contain_text(told)
    kept = page.evaluate("chrome.storage.local.get('address')")
    assert kept == {"address": running.url}


def test_its_permissions_are_the_least_and_its_name_is_the_one_that_is_allowed() -> None:
    manifest = json.loads((ROOT / "extension" / "manifest.json").read_text("utf-8"))
    assert manifest["permissions"] == [
        *("activeTab", "contextMenus", "scripting", "sidePanel", "storage"),
    ]
    assert not {"host_permissions", "optional_host_permissions", "content_scripts"} & set(manifest)
    digest = hashlib.sha256(b64decode(manifest["key"])).hexdigest()[:32]
    name = "".join(chr(ord("a") + int(sign, 16)) for sign in digest)
    assert f"chrome-extension://{name}" == EXTENSION


def test_what_the_panel_imports_is_laid_out_and_nothing_is_there_twice(tmp_path: Path) -> None:
    lay_out(tmp_path / "made")
    own = {path.name for path in (ROOT / "extension").iterdir()}
    assert not own & set(SHARED)
    for path in (tmp_path / "made").glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', path.read_text("utf-8")):
            assert (tmp_path / "made" / name).exists(), f"{path.name} imports {name}"
