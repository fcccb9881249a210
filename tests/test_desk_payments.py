"""From the review to the bank's word: every payment once, whatever happens in between."""

import json
from pathlib import Path
from typing import Any

import pytest
from desk_browser import (
    MAIL,
    Bank,
    Guarded,
    Input,
    Scheme,
    Size,
    confirm,
    fill,
    payee,
    press,
    sign_in,
    window,
)
from playwright.sync_api import Browser, Page, Route, expect

pytest_plugins = ["desk_fixtures"]

_RECORD = {
    "payment_id": "01990a6e-7c1e-7b0a-9d5e-2f6c8a1b3c4e",
    "state": "sent",
    "bank_reference": None,
    "bank_status": None,
    "updated_at": "2026-03-01T10:00:00Z",
    "note": None,
    "sandbox": True,
}
LOOKS: list[tuple[Input, Size, Scheme]] = [
    ("keyboard", "desktop", "light"),
    ("keyboard", "phone", "dark"),
    ("mouse", "phone", "light"),
    ("mouse", "desktop", "dark"),
]


@pytest.mark.parametrize(("how", "size", "scheme"), LOOKS)
def test_from_a_mail_to_the_banks_word(
    browser: Browser, desk: Bank, how: Input, size: Size, scheme: Scheme
) -> None:
    with window(browser, desk.service.url, size, scheme) as opened:
        page = opened.page
        expect(page.get_by_text("Welcome to the transaction monitoring system!")).to_be_visible()
        expect(page.get_by_text("Sandbox bank: payments are answered")).to_be_visible()
        opened.accessible()
        to = payee()
        if how == "mouse":
            page.get_by_role("textbox", name="Mail").click()
        else:
            while not page.evaluate("document.activeElement.id === 'mail-text'"):
                page.keyboard.press("Tab")
        page.keyboard.insert_text(MAIL.format(payee=to))
        expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value(to)
        expect(page.get_by_role("textbox", name="Amount")).to_have_value("125.00")
        assert sorted(page.locator("mark").all_text_contents()) == sorted(
            ["125.00", "Contoso GmbH", "EUR", to]
        )
        opened.accessible()
        press(page, "Review the payment", how)
        summary = page.locator(".step")
        expect(summary).to_contain_text(f"Pay 125.00 EUR to {to}")
        expect(summary).to_contain_text("from Contoso GmbH")
        expect(summary).to_contain_text("fraud probability")
        expect(summary).to_contain_text("no money moves")
        assert desk.booked(to) == []
        opened.accessible()
        press(page, "Confirm and pay", how)
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        (booking,) = desk.booked(to)
        expect(summary).to_contain_text(booking.reference)
        expect(summary).to_contain_text("ACSC: settled")
        opened.accessible()


def test_a_double_click_and_reloads_pay_once(browser: Browser, desk: Bank) -> None:
    desk.bank.order("stalled_after")
    with window(browser, desk.service.url) as opened:
        page = opened.page
        to = payee()
        fill(page, to)
        press(page, "Review the payment")
        page.get_by_role("button", name="Confirm and pay").dblclick()
        expect(page.get_by_role("heading", name="Sending")).to_be_visible()
        expect(page.get_by_role("textbox", name="Amount")).to_be_disabled()
        for _ in range(2):
            page.reload()
            expect(page.locator(".step")).to_contain_text(to)
            expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value(to)
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        assert len(desk.booked(to)) == 1


def test_a_service_that_stops_in_the_middle_of_a_payment(browser: Browser, desk: Bank) -> None:
    desk.bank.order("stalled_after")
    with window(browser, desk.service.url) as opened:
        page = opened.page
        to = payee()
        fill(page, to)
        press(page, "Review the payment")
        with page.expect_request("**/payment") as asked:
            press(page, "Confirm and pay")
        page.wait_for_timeout(500)
        desk.service.kill()
        try:
            expect(page.get_by_role("heading", name="Not known yet whether")).to_be_visible()
            expect(page.locator("#weather")).to_contain_text("No connection to Paydesk")
            expect(page.get_by_role("textbox", name="Amount")).to_be_disabled()
            opened.accessible()
        finally:
            desk.service.start()
            desk.service.wait()
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=120_000)
        assert len(desk.booked(to)) == 1
        assert asked.value.headers["idempotency-key"].startswith("desk-")


def test_an_outcome_that_is_not_known_is_said_to_be_unknown_and_followed(
    browser: Browser, desk: Bank
) -> None:
    desk.bank.order("drop_after", times=3)
    with window(browser, desk.service.url, "phone", "dark") as opened:
        page = opened.page
        to = payee()
        confirm(page, to)
        expect(page.get_by_role("heading", name="Not known yet whether")).to_be_visible()
        expect(page.locator(".step")).to_contain_text("The payment may be booked")
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=60_000)
        assert len(desk.booked(to)) == 1


def test_the_banks_later_word_is_followed(browser: Browser, desk: Bank) -> None:
    desk.bank.order("rejects_later")
    with window(browser, desk.service.url) as opened:
        page = opened.page
        confirm(page, payee())
        expect(page.get_by_role("heading", name="The bank has the payment")).to_be_visible()
        expect(page.locator(".step")).to_contain_text("PDNG: pending")
        refused = page.get_by_role("heading", name="Refused: no money moved")
        expect(refused).to_be_visible(timeout=120_000)
        expect(page.locator(".step")).to_contain_text("RJCT: rejected")


def test_a_refused_payment_and_the_next_one(browser: Browser, desk: Bank) -> None:
    desk.bank.order("refused")
    with window(browser, desk.service.url) as opened:
        page = opened.page
        keys: list[str] = []
        page.on(
            "request",
            lambda asked: (
                keys.append(asked.headers["idempotency-key"])
                if asked.url.endswith("/payment")
                else None
            ),
        )
        to = payee()
        confirm(page, to)
        expect(page.get_by_role("heading", name="Refused: no money moved")).to_be_visible()
        opened.accessible()
        page.get_by_role("textbox", name="Amount").fill("13.50")
        expect(page.locator(".told")).to_contain_text("this is a new payment")
        press(page, "Review the payment")
        press(page, "Confirm and pay")
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        assert len(desk.booked(to)) == 1
        assert len(set(keys)) == 2


def test_a_held_payment_needs_a_reason_in_words(browser: Browser, guarded: Guarded) -> None:
    with window(browser, guarded.desk.service.url) as opened:
        page = opened.page
        sign_in(page, guarded.paying)
        to = payee()
        fill(page, to, "9,000.00")
        press(page, "Review the payment")
        expect(page.locator(".step")).to_contain_text("will be held")
        press(page, "Confirm and pay")
        expect(page.get_by_role("heading", name="Held: this payment")).to_be_visible()
        expect(page.locator(".step")).to_contain_text("The amount 9000.00 is above 3000.")
        opened.accessible()
        press(page, "Pay all the same")
        expect(page.locator("#reason-said")).to_contain_text("at least 3 letters")
        assert guarded.desk.booked(to) == []
        page.get_by_label("Why it may go").fill("the annual premium")
        press(page, "Pay all the same", "keyboard")
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        expect(page.locator(".step")).to_contain_text("the annual premium")
        assert len(guarded.desk.booked(to)) == 1


def test_a_key_is_asked_for_and_stays_out_of_addresses(browser: Browser, guarded: Guarded) -> None:
    key = guarded.looking
    asked: list[str] = []
    with window(browser, guarded.desk.service.url, "phone") as opened:
        page = opened.page
        page.on("request", lambda request: asked.append(request.url))
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(page.get_by_text("Sandbox bank")).to_be_visible()
        opened.accessible()
        sign_in(page, "pd_000000000000_wrong")
        expect(page.get_by_role("alert")).to_contain_text("not one in force")
        sign_in(page, key)
        fill(page, payee())
        press(page, "Review the payment")
        expect(page.locator(".told")).to_contain_text("may not pay")
        expect(page.locator(".payments")).to_contain_text("may not pay")
        page.get_by_role("link", name="Monitor").click()
        with page.expect_download() as saved:
            page.get_by_role("link", name="Export as CSV").click()
        assert Path(saved.value.path()).read_text("utf-8").startswith("decision_id,")
        page.reload()
        expect(page.get_by_text("Latest decisions")).to_be_visible()
        assert page.evaluate("localStorage.length") == 0
        assert all(key not in address and key.split("_")[2] not in address for address in asked)
        press(page, "Sign out")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert key not in page.evaluate("JSON.stringify({...sessionStorage})")


def test_a_payment_like_an_earlier_one_takes_one_word_more(browser: Browser, desk: Bank) -> None:
    with window(browser, desk.service.url, "phone") as opened:
        page = opened.page
        to = payee()
        confirm(page, to)
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        (booking,) = desk.booked(to)
        press(page, "New payment")
        fill(page, to)
        press(page, "Review the payment")
        notice = page.locator(".step .notice")
        expect(notice).to_contain_text("A payment like this was made at")
        expect(notice).to_contain_text(f"(accepted, {booking.reference})")
        opened.accessible()
        press(page, "Confirm and pay")
        expect(page.locator("#meant-said")).to_contain_text("Say that it is another one")
        expect(page.get_by_label("This is another payment")).to_be_focused()
        assert len(desk.booked(to)) == 1
        page.keyboard.press("Space")
        press(page, "Confirm and pay", "keyboard")
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        assert len(desk.booked(to)) == 2


def test_of_two_windows_with_one_payment_the_second_is_asked(browser: Browser, desk: Bank) -> None:
    with window(browser, desk.service.url) as opened:
        to = payee()
        first, second = opened.page, opened.page.context.new_page()
        second.goto(desk.service.url)
        for page in (first, second):
            fill(page, to)
            press(page, "Review the payment")
            expect(page.get_by_role("button", name="Confirm and pay")).to_be_visible()

        def late(route: Route) -> None:
            second.wait_for_timeout(1_000)
            route.continue_()

        # The second confirms while the first one's word has not reached the service yet.
        first.route("**/payment", late)
        for page in (first, second):
            press(page, "Confirm and pay")
        expect(second.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        expect(first.get_by_role("heading", name="Another payment like this")).to_be_visible()
        expect(first.locator(".step .notice")).to_contain_text("A payment like this was made")
        opened.accessible()
        first.reload()
        expect(first.locator(".step .notice")).to_contain_text("A payment like this was made")
        assert len(desk.booked(to)) == 1
        press(first, "This is another: pay it, too", "keyboard")
        expect(first.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        assert len(desk.booked(to)) == 2


def test_of_two_windows_with_a_held_payment_the_second_is_asked(
    browser: Browser, guarded: Guarded
) -> None:
    with window(browser, guarded.desk.service.url) as opened:
        to = payee()
        first, second = opened.page, opened.page.context.new_page()
        second.goto(guarded.desk.service.url)
        for page in (first, second):
            sign_in(page, guarded.paying)
            confirm(page, to, "9,000.00")
            expect(page.get_by_role("heading", name="Held: this payment")).to_be_visible()
            page.get_by_label("Why it may go").fill("the annual premium")
        second.reload()
        expect(second.get_by_label("Why it may go")).to_have_value("the annual premium")
        press(first, "Pay all the same")
        expect(first.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        press(second, "Pay all the same")
        expect(second.get_by_role("heading", name="Another payment like this")).to_be_visible()
        assert len(guarded.desk.booked(to)) == 1
        # A reason is for one payment.
        press(first, "New payment")
        confirm(first, payee(), "9,100.00")
        expect(first.get_by_label("Why it may go")).to_have_value("")


def test_a_payment_that_came_while_another_was_not_known_is_asked_about(
    browser: Browser, desk: Bank
) -> None:
    with window(browser, desk.service.url) as opened:
        page = opened.page
        to = payee()
        fill(page, to)
        press(page, "Review the payment")
        page.route("**/payment", lambda route: route.abort())  # The service hears nothing of it.
        press(page, "Confirm and pay")
        expect(page.get_by_role("heading", name="Not known yet whether")).to_be_visible()
        # The next mail is read meanwhile, for the next payment.
        page.get_by_role("textbox", name="Mail").fill(MAIL.format(payee="Harper Ltd"))
        expect(page.locator(".mail [role=status]")).to_contain_text("fields found")
        with desk.service.client() as client:
            body = {"accountA": to, "accountB": "Contoso GmbH", "amount": "12.50"}
            assert client.post("/payment", json={**body, "currency": "EUR"}).status_code == 201
        page.unroute("**/payment")
        expect(page.get_by_role("heading", name="Another payment like this")).to_be_visible(
            timeout=40_000
        )
        press(page, "This is another: pay it, too")
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        assert len(desk.booked(to)) == 2
        press(page, "New payment")
        expect(page.get_by_role("textbox", name="Payee who is paid")).to_have_value("Harper Ltd")


def test_what_is_no_answer_and_what_was_not_sent_on_is_sent_again(
    browser: Browser, desk: Bank
) -> None:
    answers: list[Any] = [
        (200, None),
        (200, {"state": "accepted"}),
        # Another request of the same payment is under way, and then could not send it on.
        (409, {"error": "It is being sent.", "request_id": "r", "payment": {**_RECORD}}),
    ]
    with window(browser, desk.service.url) as opened:
        page = opened.page

        def odd(route: Route) -> None:
            if not answers:
                route.continue_()
                return
            status, body = answers.pop(0)
            route.fulfill(status=status, body=json.dumps(body), content_type="application/json")

        page.route("**/payment", odd)
        page.route(
            "**/payment/*", lambda route: route.fulfill(json={**_RECORD, "state": "recorded"})
        )
        to = payee()
        confirm(page, to)
        expect(page.get_by_role("heading", name="Not known yet whether")).to_be_visible()
        expect(page.locator(".step .notice")).to_contain_text("no payment of Paydesk")
        expect(page.locator(".step .facts")).to_contain_text("recorded", timeout=40_000)
        page.unroute("**/payment/*")
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=60_000)
        assert answers == []
        assert len(desk.booked(to)) == 1


def test_a_duplicated_tab_has_the_form_and_a_payment_of_its_own(
    browser: Browser, desk: Bank
) -> None:
    def key(page: Page) -> str:
        kept = page.evaluate("JSON.parse(sessionStorage.getItem('paydesk.payment'))")
        return str(kept["key"])

    with window(browser, desk.service.url) as opened:
        page = opened.page
        to = payee()
        confirm(page, to)
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        with page.context.expect_page() as opening:
            page.evaluate("window.open('/')")
        other = opening.value
        expect(other.get_by_role("textbox", name="Payee who is paid")).to_have_value(to)
        expect(other.get_by_role("button", name="Review the payment")).to_be_visible()
        press(other, "Review the payment")
        expect(other.locator(".step .notice")).to_contain_text("A payment like this was made")
        other.get_by_label("This is another payment").check()
        press(other, "Confirm and pay")
        expect(other.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        assert key(page) != key(other)
        page.reload()
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible()
        assert len(desk.booked(to)) == 2


def test_a_confirmation_without_a_connection_sends_nothing(browser: Browser, desk: Bank) -> None:
    with window(browser, desk.service.url) as opened:
        page = opened.page
        to = payee()
        fill(page, to)
        press(page, "Review the payment")
        expect(page.get_by_role("button", name="Confirm and pay")).to_be_visible()
        page.context.set_offline(True)
        press(page, "Confirm and pay")
        expect(page.get_by_role("heading", name="Not sent")).to_be_visible()
        expect(page.locator(".step .notice")).to_contain_text("This computer is offline")
        page.context.set_offline(False)
        press(page, "Send it again")
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=40_000)
        assert len(desk.booked(to)) == 1


def test_the_latest_payments_are_listed_and_an_unknown_one_stands_out(
    browser: Browser, desk: Bank
) -> None:
    to = payee()
    with desk.service.client() as client, window(browser, desk.service.url) as opened:
        page = opened.page
        for amount in range(1, 10):
            body = {"accountA": to, "accountB": "Contoso GmbH", "amount": f"{amount}.00"}
            assert client.post("/payment", json=body).status_code == 201
        page.reload()
        entries = page.locator(".payments li")
        expect(entries).to_have_count(8)
        expect(entries.first).to_contain_text(f"9.00 EUR to {to}")
        expect(entries.first).to_contain_text("accepted")
        press(page, "Older payments")
        expect(entries.nth(8)).to_contain_text(f"1.00 EUR to {to}")
        desk.bank.order("drop_after", times=3)
        confirm(page, to)
        unknown = page.locator(".payments li.is-unknown")
        expect(unknown).to_contain_text(f"12.50 EUR to {to}", timeout=20_000)
        expect(unknown).to_contain_text("It may be booked")
        expect(page.locator(".payments [role=status]")).to_have_text("1 not known yet")
        opened.accessible()
        # "Not known yet whether it was paid" has the word, too.
        expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(timeout=60_000)
        expect(unknown).to_have_count(0)
        expect(entries.first).to_contain_text("settled")
