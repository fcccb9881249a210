"""HTML, .eml and plain files become text, and quoted history is set apart."""

from email.message import EmailMessage
from pathlib import Path

import pytest

from paydesk.entities.mail import (
    UnreadableMailError,
    eml_to_text,
    html_to_text,
    read_text,
    split_history,
)


def test_html_becomes_what_a_person_sees() -> None:
    html = (
        "<html><head><style>p {color: red}</style></head><body><p>Dear Ann,</p>"
        "<p>Pay&nbsp;<b>£35</b> to Bob<br>Thanks</p><script>alert(1)</script>"
        "<table><tr><td>Total</td><td>5</td></tr></table></body></html>"
    )
    assert html_to_text(html).split("\n") == [
        "Dear Ann,",
        "",
        "Pay £35 to Bob",
        "Thanks",
        "",
        "Total  5",
    ]


def test_xhtml_with_a_declaration_is_read_like_any_other() -> None:
    html = '<?xml version="1.0" encoding="utf-8"?>\n<html><body><p>Pay Ann</p></body></html>'
    assert html_to_text(html) == "Pay Ann"


@pytest.mark.parametrize("html", ["", "   ", "<p></p>", "<", "<!-- only -->"])
def test_html_without_text_is_empty_or_harmless(html: str) -> None:
    assert len(html_to_text(html)) <= 1


def test_an_eml_gives_subject_and_plain_body() -> None:
    message = EmailMessage()
    message["Subject"] = "Zapłata dla Lodex"
    message["From"] = "a@example.com"
    message.set_content("Please pay 500 zł to Lodex.\n")
    message.add_alternative("<p>something else</p>", subtype="html")
    assert (
        eml_to_text(bytes(message)) == "Subject: Zapłata dla Lodex\n\nPlease pay 500 zł to Lodex."
    )


def test_an_eml_with_html_only_is_read_too() -> None:
    message = EmailMessage()
    message.set_content("<p>Pay <i>Bob</i> £5</p>", subtype="html")
    assert eml_to_text(bytes(message)) == "Pay Bob £5"


def test_quoted_history_is_separated() -> None:
    text = (
        "Yes, do it.\n\nOn Tue, 5 Aug 2025 at 6:48 AM Brandi <b@x.com> wrote:\n> Pay Anita 9,462\n"
    )
    new, history = split_history(text)
    assert new.startswith("Yes, do it.")
    assert "Anita" not in new
    assert "> Pay Anita 9,462" in history


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableMailError, match=r"gone\.eml cannot be read: No such file"):
        read_text(tmp_path / "gone.eml")
