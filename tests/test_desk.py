"""The desk in a real browser: a mail is read and corrected, a transaction tried, all is watched."""

import base64
import hashlib
import json
import subprocess
import uuid
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from random import Random

import httpx
import pytest
from conftest import ROOT
from desk_browser import (
    MAIL,
    Bank,
    Scheme,
    Size,
    fill,
    payee,
    pictures,
    press,
    scorer,
    window,
)
from playwright.sync_api import Browser, Page, expect
from schwifty import IBAN
from schwifty.exceptions import SchwiftyException

from paydesk.examples import TRANSACTIONS
from paydesk.iso4217 import DECIMALS

pytest_plugins = ["desk_fixtures"]


def test_what_the_person_corrects_stays(browser: Browser, desk: Bank) -> None:
    with window(browser, desk.service.url) as opened:
        page = opened.page
        mail = page.get_by_role("textbox", name="Mail")
        mail.fill(MAIL.format(payee="Harper Ltd") + "\nOur Northwind Traders account is closed.")
        expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value("Harper Ltd")
        page.get_by_role("textbox", name="Payee who is paid").fill("Wrong Name")
        page.locator(".field-accountA .chip", has_text="Harper Ltd").click()
        expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value("Harper Ltd")
        # Selected text becomes a field; a later reading leaves it alone.
        mail.evaluate(
            "it => { const at = it.value.indexOf('Northwind'); it.focus();"
            " it.setSelectionRange(at, at + 'Northwind Traders'.length); }"
        )
        press(page, "Payer", "keyboard")
        expect(page.get_by_role("textbox", name="Payer who pays")).to_have_value(
            "Northwind Traders"
        )
        expect(page.locator("mark.is-accountB")).to_have_text("Northwind Traders")
        mail.press("End")
        mail.type(" Thanks")
        expect(page.locator(".mail [role=status]")).to_contain_text("fields found")
        expect(page.get_by_role("textbox", name="Payer who pays")).to_have_value(
            "Northwind Traders"
        )
        opened.accessible()


def test_a_mail_full_of_markup_and_turned_text_is_text(browser: Browser, desk: Bank) -> None:
    hostile = (
        "<img src=x onerror=alert(1)><script>document.title='taken'</script>\n"
        "</div></mark><b>bold</b> \u202eGNORW\u202c "
        "\u0645\u0631\u062d\u0628\u0627 \U0001f4b6\U0001f1ea\U0001f1fa\n"
        "Please pay GBP 480.50 to Harper Ltd from Contoso GmbH.\n"
        "javascript:alert(2) &lt;i&gt; {{7*7}} ${7*7}\n"
    )
    with window(browser, desk.service.url) as opened:
        page = opened.page
        page.get_by_role("textbox", name="Mail").fill(hostile)
        expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value("Harper Ltd")
        # Emoji before them: the marks stand where the words do all the same.
        assert page.locator("mark.is-accountA").text_content() == "Harper Ltd"
        assert page.locator("mark.is-amount").text_content() == "480.50"
        assert page.locator(".below").text_content() == hostile + "\n"
        assert page.locator(".mail :is(img, script, b, i)").count() == 0
        expect(page.locator(".mail [role=status]")).to_contain_text("turn the direction")
        assert "taken" not in page.title()
        opened.accessible()


def test_a_message_is_dropped_opened_and_kept_over_a_reload(
    browser: Browser, desk: Bank, tmp_path: Path
) -> None:
    message = EmailMessage()
    message["Subject"] = "Zahlung für März"
    message.set_content("Bitte nur HTML lesen", subtype="plain")
    message.set_content(
        "<p>Please pay <b>EUR 125.00</b> to Müller &amp; Söhne AG from Contoso GmbH.</p>",
        subtype="html",
        charset="iso-8859-1",
        cte="quoted-printable",
    )
    file = tmp_path / "mail.eml"
    file.write_bytes(message.as_bytes())
    with window(browser, desk.service.url) as opened:
        page = opened.page
        page.locator("#mail-file").set_input_files(file)
        mail = page.get_by_role("textbox", name="Mail")
        expect(mail).to_have_value(
            "Subject: Zahlung für März\n\n"
            "Please pay EUR 125.00 to Müller & Söhne AG from Contoso GmbH."
        )
        press(page, "Clear")
        expect(mail).to_have_value("")
        drop = page.evaluate_handle(
            """bytes => { const data = new DataTransfer();
                const raw = Uint8Array.from(atob(bytes), (sign) => sign.charCodeAt(0));
                data.items.add(new File([raw], "again.eml")); return data; }""",
            base64.b64encode(file.read_bytes()).decode(),
        )
        page.locator(".paper").dispatch_event("drop", {"dataTransfer": drop})
        expect(page.locator("mark.is-amount")).to_have_text("125.00")
        page.reload()
        expect(page.locator("mark.is-amount")).to_have_text("125.00")


def test_the_form_says_what_is_wrong_while_it_is_typed(browser: Browser, desk: Bank) -> None:
    with window(browser, desk.service.url) as opened:
        page = opened.page
        press(page, "Review the payment")
        expect(page.locator(".field-accountA .said")).to_have_text("Enter who is paid.")
        fill(page, "Müller GmbH")
        expect(page.locator(".field-accountA .said")).to_contain_text("For example Muller GmbH")
        page.get_by_role("textbox", name="Payee's IBAN").fill("DE89 3704 0044 0532 0130 01")
        expect(page.locator(".field-creditorAccount .said")).to_contain_text("check digits")
        page.get_by_role("textbox", name="Payee's IBAN").fill("DE89370400440532013000")
        expect(page.locator(".field-creditorAccount .said")).to_contain_text("fit")
        page.get_by_role("textbox", name="Amount").fill("1,250")
        expect(page.locator(".pay .field-amount .said")).to_contain_text("two ways")
        opened.accessible()
        page.get_by_role("textbox", name="Amount").fill("12.50")
        page.get_by_role("textbox", name="Payee who is paid").fill("Muller GmbH")
        page.get_by_label("On empty: today").fill("2020-01-01")
        press(page, "Review the payment")
        expect(page.locator(".field-executionDate .said")).to_contain_text("is past")
        assert page.evaluate("document.activeElement.name") == "executionDate"


@pytest.mark.parametrize(
    ("typed", "currency", "value"),
    [
        ("12.50", "EUR", "12.50"),
        ("1,250.00", "EUR", "1250.00"),
        ("1.250,00", "EUR", "1250.00"),
        ("1 250,5", "EUR", "1250.5"),
        ("1'250.00", "CHF", "1250.00"),
        ("1,250,000", "EUR", "1250000"),
        ("1,250", "EUR", None),
        ("1.250", "EUR", None),
        ("1.250", "KWD", "1.250"),
        ("1,250", "KWD", None),
        ("1250", "JPY", "1250"),
        ("12.5", "JPY", None),
        ("12.345", "EUR", None),
        ("0", "EUR", None),
        ("0.00", "EUR", None),
        ("-5", "EUR", None),
        ("1e5", "EUR", None),
        ("12,34,567.00", "INR", None),
        ("", "EUR", None),
        ("007.50", "EUR", "7.50"),
    ],
)
def test_an_amount_is_read_in_one_way_or_not_at_all(
    modules: Page, typed: str, currency: str, value: str | None
) -> None:
    read = modules.evaluate(
        "async ([typed, code]) => (await import('/desk/money.js')).readAmount(typed, code)",
        [typed, currency],
    )
    assert read.get("value") == value
    assert ("error" in read) == (value is None)


@pytest.fixture(scope="module")
def modules(browser: Browser, desk: Bank) -> Iterator[Page]:
    """A page whose modules are asked one by one."""
    with window(browser, desk.service.url) as opened:
        yield opened.page


def test_ibans_are_judged_as_the_service_judges_them(modules: Page) -> None:
    chance = Random(7)
    made = []
    for country in ("DE", "GB", "FR", "NL", "PL", "NO", "MT", "BE", "CH", "IT", "SE", "BR"):
        good = str(IBAN.random(country, random=chance))
        place = chance.randrange(4, len(good))
        other = str((int(good[place], 36) + 1) % 10)
        made += [good, good[:place] + other + good[place + 1 :], good + "0"]
    judged = modules.evaluate(
        "async (all) => { const { readIban } = await import('/desk/iban.js');"
        " return all.map((text) => Boolean(readIban(text).value)); }",
        made,
    )
    assert judged == [_valid(text) for text in made]


def _valid(text: str) -> bool:
    try:
        IBAN(text)
    except SchwiftyException:
        return False
    return True


def test_the_page_and_the_service_mean_the_same(modules: Page) -> None:
    of_the_page = modules.evaluate(
        "async () => ({ decimals: (await import('/desk/currencies.js')).DECIMALS,"
        " examples: (await import('/desk/examples.js')).EXAMPLES })"
    )
    assert of_the_page["decimals"] == DECIMALS
    assert of_the_page["examples"] == TRANSACTIONS


def test_marks_move_with_the_text(modules: Page) -> None:
    text = "\U0001f4b6 Pay Ann 5"
    moved = modules.evaluate(
        """async (text) => { const { marksOf, shifted, pieces } = await import('/desk/marks.js');
        const marks = marksOf(text, [{label: "ACCOUNT_A", start: 6, end: 9, confidence: 1},
                                     {label: "AMOUNT", start: 10, end: 11, confidence: 1}]);
        const words = (all, whole) => pieces(whole, all).filter((piece) => piece.mark)
          .map((piece) => piece.text);
        const longer = text.replace("Pay", "Please pay");
        const touched = text.replace("Ann", "An");
        return [words(marks, text), words(shifted(marks, text, longer), longer),
                words(shifted(marks, text, touched), touched)]; }""",
        text,
    )
    assert moved == [["Ann", "5"], ["Ann", "5"], ["5"]]


def test_the_monitor_shows_decisions_as_they_come(browser: Browser, desk: Bank) -> None:
    with window(browser, f"{desk.service.url}/#monitor") as opened, desk.service.client() as client:
        page = opened.page
        expect(page.get_by_role("heading", name="Latest decisions")).to_be_visible()
        tx_id = f"TX-{uuid.uuid4().hex[:8]}"
        body = {"tx_id": tx_id, "amount": 4500, "category": "electronics", "hour": 3}
        decided = client.post("/score", json={**body, "store": "Corner"}).json()
        row = page.locator("tr.decision", has_text=tx_id)
        expect(row).to_contain_text("CRITICAL", timeout=10_000)
        expect(page.locator(".monitor > [role=status]")).to_contain_text("new alert")
        press(page, tx_id, "keyboard")
        details = page.locator(f"tr.details[data-decision='{decided['decision_id']}']")
        expect(details).to_contain_text("R2: electronics > 1500")
        expect(details).to_contain_text(decided["model"])
        opened.accessible()
        page.get_by_role("textbox", name="Store").fill("Corner")
        page.get_by_role("textbox", name="Store").press("Enter")
        expect(page.locator("tr.decision")).to_have_count(1)
        with page.expect_download() as saved:
            page.get_by_role("link", name="Export as CSV").click()
        lines = Path(saved.value.path()).read_text("utf-8").splitlines()
        assert len(lines) == 2
        page.get_by_role("combobox", name="Level").select_option("LOW")
        expect(page.get_by_text("No decision fits the filter.")).to_be_visible()
        page.get_by_role("searchbox", name="Transaction").fill(tx_id)
        press(page, "Find")
        expect(page.locator(".result")).to_contain_text(f"The last decision about {tx_id}")
        page.get_by_role("searchbox", name="Transaction").fill("never")
        page.keyboard.press("Enter")
        expect(page.locator(".result")).to_contain_text("was never scored here")


def test_the_monitor_shows_who_scores_streams(browser: Browser, desk: Bank) -> None:
    with window(browser, f"{desk.service.url}/#monitor") as opened, desk.service.client() as client:
        page = opened.page
        expect(page.locator("tr.decision, .empty").first).to_be_visible()
        streams = page.get_by_role("region", name="Streams")
        expect(streams).to_be_hidden()
        for name in ("one", "two"):
            assert client.post("/stream/scorers", json=scorer(name)).status_code == 204
        expect(streams.locator(".note")).to_have_text("3,021 a second, 24 waiting")
        row = streams.locator("tr", has_text="two of bank.scorers")
        for text in ("bank.transactions", "scoring", "12", "61 ms", "48,210"):
            expect(row).to_contain_text(text)
        stopped = scorer("two", "stopped")
        assert client.post("/stream/scorers", json=stopped).status_code == 204
        expect(row).to_contain_text("stopped")
        # The other says no more, as if it had been killed.
        expect(streams.locator(".note")).to_have_text("Nobody scores just now.", timeout=20_000)
        expect(streams.locator("tr", has_text="one of")).to_contain_text("not heard of for 1")
        opened.accessible()


@pytest.mark.parametrize(("size", "scheme"), [("phone", "dark"), ("desktop", "light")])
@pytest.mark.parametrize("decisions", [0, 1, 100_000])
def test_charts_are_readable_with_nothing_and_with_much(
    browser: Browser, desk: Bank, decisions: int, size: Size, scheme: Scheme
) -> None:
    counts = f"{desk.service.url}/decisions/counts?window=day"
    answer = httpx.get(counts).json()
    for step in [*answer["over_time"], *answer["by_probability"]]:
        step.update(LOW=0, MEDIUM=0, HIGH=0, CRITICAL=0)
    if decisions:
        answer["over_time"][-1]["LOW"] = answer["by_probability"][0]["LOW"] = decisions
    with window(browser, f"{desk.service.url}/#try", size, scheme) as opened:
        page = opened.page
        page.route("**/decisions/counts*", lambda route: route.fulfill(json=answer))
        page.get_by_role("link", name="Monitor").click()
        said = f"{decisions:,} decision" if decisions else "No decisions in this time."
        for name in ("Decisions over time", "Fraud probability"):
            chart = page.locator("figure", has_text=name)
            expect(chart.locator(".note")).to_contain_text(said)
            expect(chart.locator("canvas")).to_be_visible()
            chart.get_by_text("The numbers").click()
            row = f"{decisions:,}" if decisions else "None in this time."
            expect(chart.locator("tbody")).to_contain_text(row)
        opened.accessible()


def test_a_transaction_is_tried_and_shown_as_curl(browser: Browser, desk: Bank) -> None:
    with window(browser, f"{desk.service.url}/#try", "phone", "dark") as opened:
        page = opened.page
        press(page, "TX002 1800 electronics")
        page.get_by_role("textbox", name="Store").fill("O'Neill")
        press(page, "Score it", "keyboard")
        expect(page.locator(".answer")).to_contain_text("R2: electronics > 1500")
        opened.accessible()
        line = page.locator("#try pre").text_content() or ""
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
        decided = json.loads(done.stdout)
        assert (decided["tx_id"], decided["risk_level"], decided["score"]) == ("TX002", "MEDIUM", 2)
        page.get_by_role("textbox", name="Amount").fill("a lot")
        press(page, "Score it")
        expect(page.locator("#try .field-amount .said")).not_to_have_text("")
        press(page, "Score all ten")
        expect(page.locator(".answer")).to_contain_text(
            "Ten scored: CRITICAL 2, HIGH 2, MEDIUM 2, LOW 4"
        )


def test_without_a_connection_it_says_so_and_loses_nothing(browser: Browser, desk: Bank) -> None:
    with window(browser, desk.service.url) as opened:
        page = opened.page
        to = payee()
        fill(page, to)
        page.context.set_offline(True)
        press(page, "Review the payment")
        expect(page.locator(".told")).to_contain_text("offline")
        expect(page.locator("#weather")).to_be_visible()
        page.context.set_offline(False)
        page.reload()
        expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value(to)
        page.route("**/review", lambda route: None)
        press(page, "Review the payment")
        expect(page.locator("#weather")).to_contain_text("longer than usual", timeout=10_000)


def test_a_mail_of_20000_characters_is_drawn_anew_only_where_it_changed(
    browser: Browser, desk: Bank
) -> None:
    mail = MAIL.format(payee="Harper Ltd") + ("And more below. " * 11 + "\n") * 113
    with window(browser, desk.service.url) as opened:
        page = opened.page
        box = page.get_by_role("textbox", name="Mail")
        box.fill(mail)
        expect(page.locator("mark")).to_have_count(4)
        page.evaluate(
            """() => { window.drawn = 0; new MutationObserver((all) => {
                for (const { addedNodes } of all) drawn += addedNodes.length;
            }).observe(document.querySelector(".below"), { childList: true, subtree: true }); }"""
        )
        box.press("Control+Home")
        box.type("Dear Anna,\n")
        # Before it is read again the marks have moved with their words.
        assert page.locator("mark.is-amount").text_content() == "125.00"
        assert page.locator(".below").text_content() == box.input_value() + "\n"
        # A block a key, and two for the new line.
        assert page.evaluate("drawn") == 12
        page.get_by_role("listitem").filter(has_text="Harper Ltd").get_by_role("button").click()
        chosen = "it => it.value.slice(it.selectionStart, it.selectionEnd)"
        assert box.evaluate(chosen) == "Harper Ltd"


def test_the_marks_of_a_line_without_an_end_follow_once_the_typing_pauses(
    browser: Browser, desk: Bank
) -> None:
    mail = MAIL.format(payee="Harper Ltd").replace("\n", " ") + "All the best. " * 1_400
    with window(browser, desk.service.url) as opened:
        page = opened.page
        box = page.get_by_role("textbox", name="Mail")
        box.fill(mail)
        expect(page.locator("mark")).to_have_count(4)
        box.press("Control+Home")
        box.type("Dear Anna, ")
        expect(page.locator(".below")).to_have_text(f"Dear Anna, {mail}", use_inner_text=False)
        expect(page.locator("mark.is-amount")).to_be_visible()


def test_pictures_for_the_documentation(browser: Browser, desk: Bank, tmp_path: Path) -> None:
    folder = pictures(tmp_path)
    mail = MAIL.format(payee="Northwind Traders Ltd") + "\nThanks\nTom\n"
    looks: list[tuple[Size, Scheme, str]] = [
        ("desktop", "light", "pay"),
        ("phone", "dark", "phone"),
    ]
    for size, scheme, name in looks:
        with window(browser, desk.service.url, size, scheme) as opened:
            page = opened.page
            page.get_by_role("textbox", name="Mail").fill(mail)
            expect(page.locator("mark")).to_have_count(4)
            press(page, "Review the payment")
            expect(page.get_by_role("button", name="Confirm and pay")).to_be_visible()
            page.screenshot(path=folder / f"{name}.png", full_page=size == "desktop")
    with window(browser, f"{desk.service.url}/#try", "phone", "light") as opened:
        press(opened.page, "Score all ten")
        expect(opened.page.locator(".answer")).to_contain_text("Ten scored")
        press(opened.page, "Score it")
        expect(opened.page.locator(".answer .risk")).to_be_visible()
        opened.page.screenshot(path=folder / "try.png", full_page=True)
    with window(browser, f"{desk.service.url}/#monitor", "desktop", "dark") as opened:
        expect(opened.page.locator("canvas")).to_have_count(2)
        expect(opened.page.locator("tr.decision").first).to_be_visible()
        opened.page.screenshot(path=folder / "monitor.png")
    for picture in folder.glob("*.png"):
        assert picture.stat().st_size < 160_000, picture


def test_the_first_load_is_small_and_all_from_here(browser: Browser, desk: Bank) -> None:
    context = browser.new_context()
    page = context.new_page()
    sizes: dict[str, int] = {}
    page.on("response", lambda answer: sizes.update({answer.url: len(answer.body())}))
    page.goto(desk.service.url)
    page.wait_for_selector("#mail-text")
    assert sum(sizes.values()) <= 150_000, sizes
    assert all(address.startswith(desk.service.url) for address in sizes)
    context.close()


def test_files_of_the_page_are_typed_kept_and_guarded(desk: Bank) -> None:
    with desk.service.client() as client:
        for name, kind in (("desk.js", "text/javascript"), ("desk.css", "text/css")):
            first = client.get(f"/desk/{name}")
            assert first.headers["content-type"] == f"{kind}; charset=utf-8"
            assert first.headers["content-encoding"] == "gzip"
            tag = first.headers["etag"]
            again = client.get(f"/desk/{name}", headers={"If-None-Match": tag})
            assert (again.status_code, again.content) == (304, b"")
        plain = client.get("/desk/desk.js", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert client.get("/desk/__init__.py").status_code == 404
        policy = client.get("/", headers={"Accept": "text/html"}).headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy


def test_what_others_made_is_what_they_published() -> None:
    vendor = ROOT / "paydesk" / "web" / "pages" / "vendor"
    lines = (vendor / "README.md").read_text("utf-8").splitlines()
    rows = [line.split("|") for line in lines if line.startswith("| `")]
    sums = {row[1].strip("` "): row[5].strip("` ") for row in rows}
    shipped = {path.name: path for path in vendor.iterdir() if path.suffix in {".js", ".css"}}
    assert set(sums) == set(shipped)
    for name, path in shipped.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sums[name]
