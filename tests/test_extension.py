"""The Gmail extension, unpacked in a real browser, before a page that imitates Gmail."""

import hashlib
import json
import re
import struct
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT, Running, free_port
from desk_browser import FLAGS, chromium, fill, payee, pictures
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, Worker, expect

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


@dataclass
class Loaded:
    """A browser with the extension, and pages that stand where Gmail's do."""

    context: BrowserContext
    seen: Callable[[], Browser]
    options: Page

    @classmethod
    def at(cls, playwright: Playwright, home: Path, stack: ExitStack) -> "Loaded":
        """The extension as laid out; one permission more stands for the click in the toolbar."""
        folder = home / "extension"
        lay_out(folder)
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        # No program can click a toolbar's button, which is what lets the panel read the tab.
        manifest["host_permissions"] = ["https://mail.google.com/*"]
        (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
        port = free_port()
        context = playwright.chromium.launch_persistent_context(
            home / "profile",
            executable_path=chromium(),
            headless=True,
            args=[
                *(*FLAGS, f"--disable-extensions-except={folder}", f"--load-extension={folder}"),
                *(f"--remote-debugging-port={port}", "--window-size=1200,940"),
            ],
            no_viewport=True,
        )
        stack.callback(context.close)
        context.set_default_timeout(10_000)
        context.route(
            "https://mail.google.com/**",
            lambda route: route.fulfill(
                body=PAGES[route.request.url.removeprefix("https://mail.google.com")],
                content_type="text/html",
            ),
        )
        options = context.new_page()
        options.goto(f"{EXTENSION}/options.html")

        def seen() -> Browser:
            # A side panel is no tab: only who looks after it was opened finds it.
            return stack.enter_context(
                playwright.chromium.connect_over_cdp(f"http://127.0.0.1:{port}")
            )

        return cls(context, seen, options)

    def configured(self, url: str) -> Page:
        """The options with the address of the running service, checked and saved."""
        self.options.get_by_label("Address of the service").fill(url)
        self.options.get_by_role("button", name="Check and save").click()
        expect(self.options.locator("#said")).to_contain_text("its bank is sandbox")
        return self.options

    def beside(self, mail: str) -> int:
        """A window with that page alone before a person; its id."""
        with self.context.expect_page() as opening:
            window_id = self.options.evaluate(
                "url => chrome.windows.create({ url }).then(({ id }) => id)",
                f"https://mail.google.com{mail}",
            )
        opening.value.wait_for_load_state()
        return int(window_id)

    def panel(self, window_id: int) -> Page:
        """Chrome's own side panel in that window, opened as by a person's click."""
        said = self.context.new_cdp_session(self.options).send(
            "Runtime.evaluate",
            {
                "expression": f"chrome.sidePanel.open({{ windowId: {window_id} }})",
                "userGesture": True,
                "awaitPromise": True,
            },
        )
        assert "exceptionDetails" not in said, said
        for _ in range(20):
            pages = [page for known in self.seen().contexts for page in known.pages]
            for page in pages:
                if page.url == f"{EXTENSION}/panel.html" and _window_of(page) == window_id:
                    return page
            self.options.wait_for_timeout(250)
        pytest.fail("Chromium opened no side panel")

    def read(self, mail: str) -> Page:
        """The panel beside that page, whose mail it has been told to read."""
        page = self.panel(self.beside(mail))
        said = page.locator("#said")
        # A page that has only just been routed may not be read for a moment.
        for _ in range(10):
            page.get_by_role("button", name="Read the open mail").click()
            expect(said).not_to_have_text(re.compile("^(Looking .*)?$"))
            if "may not be read" not in said.inner_text():
                break
            page.wait_for_timeout(500)
        return page


@pytest.fixture
def loaded(playwright: Playwright, tmp_path: Path) -> Iterator[Loaded]:
    """A browser with the extension."""
    with ExitStack() as stack:
        yield Loaded.at(playwright, tmp_path, stack)


def _window_of(page: Page) -> int:
    return int(page.evaluate("chrome.windows.getCurrent().then(({ id }) => id)"))


def mail_to(payee: str) -> str:
    """A mail that asks to pay somebody."""
    return MAIL.replace(PAYEE, payee)


def accessible(page: Page) -> None:
    """Fails the test with what axe finds."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def select(worker: Worker, window_id: int, text: str) -> None:
    """What the menu of a selected text does; opening the panel takes a click of a person."""
    worker.evaluate(
        "([selectionText, windowId]) => chrome.contextMenus.onClicked.dispatch("
        "{ menuItemId: 'read', selectionText }, { id: -1, windowId })",
        [text, window_id],
    )


def test_a_draft_is_read_confirmed_and_paid(loaded: Loaded, running: Running) -> None:
    accessible(loaded.configured(running.url))
    page = loaded.read("/mail/draft")
    expect(page.locator("#said")).to_have_text("This is the draft.")
    expect(page.get_by_text("Sandbox bank")).to_be_visible()
    text = page.get_by_role("textbox", name="Mail").input_value()
    assert text.startswith("Subject: Invoice 2231\n\nHi Anna,")
    assert "<img src=x onerror=alert(1)>" in text
    assert page.locator("img[src=x]").count() == 0
    expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value(PAYEE)
    accessible(page)
    to = payee()
    page.get_by_role("textbox", name="Payee who is paid").fill(to)
    page.get_by_role("button", name="Review the payment").click()
    expect(page.locator(".step")).to_contain_text(f"Pay 125.00 EUR to {to}")
    page.get_by_role("button", name="Confirm and pay").click()
    outcome = page.get_by_role("heading", name=re.compile("^(The bank has the payment|Paid)$"))
    expect(outcome).to_be_visible(timeout=20_000)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_an_open_message_is_read_as_in_the_picture(
    loaded: Loaded, running: Running, tmp_path: Path
) -> None:
    loaded.configured(running.url)
    page = loaded.read("/mail/read")
    expect(page.locator("#said")).to_have_text("This is the open message.")
    expect(page.get_by_role("textbox", name="Amount")).to_have_value("125.00")
    page.screenshot(path=pictures(tmp_path / "pictures") / "extension.png")


def test_where_no_mail_is_found_selecting_and_pasting_are_offered(
    loaded: Loaded, running: Running
) -> None:
    loaded.configured(running.url)
    page = loaded.read("/other")
    expect(page.locator("#said")).to_contain_text("No mail was found on this page")
    expect(page.locator("#said")).to_contain_text("paste it below")
    worker = loaded.context.service_workers[0]
    select(worker, _window_of(page), MAIL)
    expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value(PAYEE)
    assert worker.evaluate("chrome.storage.session.get('mail')") == {}


def test_two_windows_have_a_form_and_a_payment_each(loaded: Loaded, running: Running) -> None:
    loaded.configured(running.url)
    windows = loaded.beside("/mail/read"), loaded.beside("/other")
    first, second = (loaded.panel(window_id) for window_id in windows)
    to, other = payee(), payee()
    worker = loaded.context.service_workers[0]
    select(worker, windows[0], mail_to(to))
    expect(first.get_by_role("textbox", name="Payee who is paid")).to_have_value(to)
    select(worker, windows[1], mail_to(other))
    expect(second.get_by_role("textbox", name="Payee who is paid")).to_have_value(other)
    expect(first.get_by_role("textbox", name="Payee who is paid")).to_have_value(to)
    # A reload brings each its own back, also when both come at once, as after new options.
    loaded.options.evaluate("chrome.storage.local.set({ touched: 1 })")
    for page, name in ((first, to), (second, other)):
        expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value(name)
        expect(page.get_by_role("textbox", name="Mail")).to_have_value(mail_to(name))
    # Both are about to pay the same: the one that comes second is asked.
    second.get_by_role("textbox", name="Payee who is paid").fill(to)
    for page in (first, second):
        page.get_by_role("button", name="Review the payment").click()
        expect(page.get_by_role("button", name="Confirm and pay")).to_be_visible()
    first.get_by_role("button", name="Confirm and pay").click()
    made = re.compile("^(The bank has the payment|Paid)$")
    expect(first.get_by_role("heading", name=made)).to_be_visible(timeout=20_000)
    second.get_by_role("button", name="Confirm and pay").click()
    expect(second.locator(".step .notice")).to_contain_text("A payment like this was made")
    with httpx.Client(base_url=running.url) as client:
        listed = client.get("/payments").json()["payments"]
    assert len([payment for payment in listed if payment["accountA"] == to]) == 1


def test_a_panel_that_was_closed_comes_back_to_its_payment(
    loaded: Loaded, running: Running
) -> None:
    loaded.configured(running.url)
    one, two = loaded.beside("/mail/read"), loaded.beside("/other")
    first, second = loaded.panel(one), loaded.panel(two)
    to = payee()
    fill(second, to)
    second.get_by_role("button", name="Review the payment").click()
    second.route("**/payment", lambda route: None)  # It is on its way when the panel closes.
    second.get_by_role("button", name="Confirm and pay").click()
    expect(second.get_by_role("heading", name="Sending")).to_be_visible()
    second.close()
    first.close()
    page = loaded.panel(one)
    expect(page.locator(".step")).to_contain_text(to)
    made = re.compile("^(The bank has the payment|Paid)$")
    expect(page.get_by_role("heading", name=made)).to_be_visible(timeout=20_000)


def test_wrong_options_are_told_and_not_kept(loaded: Loaded, running: Running) -> None:
    page = loaded.configured(running.url)
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


def test_its_icons_are_there_in_the_sizes_that_chrome_shows() -> None:
    manifest = json.loads((ROOT / "extension" / "manifest.json").read_text("utf-8"))
    named = [manifest["icons"], manifest["action"]["default_icon"]]
    assert [set(icons) for icons in named] == [{"16", "32", "48", "128"}, {"16", "32"}]
    for size, name in [icon for icons in named for icon in icons.items()]:
        content = (ROOT / "extension" / name).read_bytes()
        # PNG: its signature, then a header with width and height.
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        assert struct.unpack(">II", content[16:24]) == (int(size), int(size))
        assert len(content) < 5_000


def test_what_the_panel_imports_is_laid_out_and_nothing_is_there_twice(tmp_path: Path) -> None:
    lay_out(tmp_path / "made")
    own = {path.name for path in (ROOT / "extension").iterdir()}
    assert not own & set(SHARED)
    for path in (tmp_path / "made").glob("*.js"):
        for name in re.findall(r'from "\./([^"]+)"', path.read_text("utf-8")):
            assert (tmp_path / "made" / name).exists(), f"{path.name} imports {name}"
