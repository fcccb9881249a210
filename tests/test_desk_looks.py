"""Every screen of the desk in both sizes and themes: nothing that axe or a narrow window finds."""

from pathlib import Path

import pytest
from desk_browser import (
    MAIL,
    SIZES,
    Guarded,
    Scheme,
    Size,
    payee,
    press,
    scorer,
    sign_in,
    window,
)
from playwright.sync_api import Browser, expect

pytest_plugins = ["desk_fixtures"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_is_readable_for_everyone(
    browser: Browser, guarded: Guarded, size: Size, scheme: Scheme, tmp_path: Path
) -> None:
    with window(browser, guarded.desk.service.url, size, scheme) as opened:
        page = opened.page

        def look(name: str) -> None:
            opened.accessible()
            page.screenshot(path=tmp_path / f"{name}-{size}-{scheme}.png", full_page=True)

        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        look("signin")
        sign_in(page, "pd_000000000000_wrong")
        expect(page.get_by_role("alert")).to_contain_text("not one in force")
        look("signin-refused")
        sign_in(page, guarded.paying)
        expect(page.get_by_role("heading", name="Latest payments")).to_be_visible()
        look("mail-empty")
        press(page, "Review the payment")
        look("payment-wrong")
        page.get_by_role("textbox", name="Mail").fill(
            MAIL.format(payee=payee()) + "Or was it 1,520.00 GBP to Contoso Trading Ltd?\n"
        )
        expect(page.locator(".mail [role=status]")).to_contain_text("fields found")
        look("mail")
        for name in ("payment", "payment-alike"):
            press(page, "Review the payment")
            expect(page.get_by_role("button", name="Confirm and pay")).to_be_visible()
            look(f"{name}-review")
            if name == "payment-alike":
                page.get_by_label("This is another payment").check()
            press(page, "Confirm and pay")
            expect(page.get_by_role("heading", name="Paid", exact=True)).to_be_visible(
                timeout=40_000
            )
            look(name)
            page.reload()
            press(page, "New payment")
            page.get_by_role("textbox", name="Mail").press("End")
            page.get_by_role("textbox", name="Mail").type(" ")
            expect(page.locator(".mail [role=status]")).to_contain_text("fields found")
        page.get_by_role("link", name="Try").click()
        press(page, "Score all ten")
        expect(page.locator(".answer")).to_contain_text("Ten scored")
        press(page, "Score it")
        expect(page.locator(".answer .risk")).to_be_visible()
        look("try")
        with guarded.desk.service.client() as client:
            key = {"Authorization": f"Bearer {guarded.paying}"}
            for told in (scorer("eu-1"), scorer("eu-2", "stopped")):
                assert client.post("/stream/scorers", json=told, headers=key).status_code == 204
        page.get_by_role("link", name="Monitor").click()
        expect(page.get_by_role("region", name="Streams")).to_contain_text("1,511 a second")
        expect(page.locator("canvas")).to_have_count(2)
        page.locator("tr.decision button").first.click()
        page.get_by_role("searchbox", name="Transaction").fill("TX002")
        press(page, "Find")
        expect(page.locator(".result")).to_contain_text("The last decision about TX002")
        look("monitor")
