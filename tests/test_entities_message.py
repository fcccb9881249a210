"""A message is read whatever a stranger made it of: within bounds, and with what is true in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.entities.mail import eml_to_text, html_to_text, split_history

_PLAIN = b"Content-Type: text/plain\r\n\r\nPay Ann"
_PIECES = st.sampled_from(
    [
        *(b"Subject: ", b"Content-Type: text/plain; charset=", b"Content-Type: multipart/mixed; "),
        *(
            b"Content-Transfer-Encoding: base64",
            b"Content-Disposition: a;",
            b"boundary",
            b"*",
            b"=b",
        ),
        *(b"boundary*=", b"charset*=", b"*0=", b"idna''", b"punycode''abc%ff", b"a%00b''", b"x;"),
        *(b"--b\r\n", b"--b--", b"\r\n", b"\r\n\r\n", b" ", b'"', b"(", b"=?utf-8?b?", b"?="),
        *(b"utf-16", b"idna", b"message/rfc822", b"text/html", b"<?xml", b"''%00"),
        *(b"\xff", b"\xed\xa0\x80"),
    ]
)


def nested(depth: int) -> bytes:
    """So many parts, each in the one before, and a text in the innermost."""
    opened = (
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        for level in range(depth)
    )
    return b"".join(opened) + _PLAIN


@given(st.lists(_PIECES | st.binary(max_size=8), max_size=40))
def test_no_bytes_at_all_raise_anything(pieces: list[bytes]) -> None:
    text = eml_to_text(b"".join(pieces))
    assert text.encode("utf-8").decode("utf-8") == text
    split_history(text)


@pytest.mark.parametrize(
    "kind",
    [
        b"text/plain; charset*=utf-8''x; charset*0=y",
        b"multipart/mixed; boundary*=utf-8''x; boundary*0=y",
        b"multipart/mixed; boundary*=idna''abc",
        b"multipart/mixed; boundary*=undefined''abc",
        b"multipart/mixed; boundary*=punycode''abc%ff",
        b"multipart/mixed; boundary*0*=idna''x",
        b"multipart/mixed; boundary*=a%00b''x",
    ],
)
def test_parameters_that_are_nonsense_are_none(kind: bytes) -> None:
    text = eml_to_text(b"Subject: Pay\r\nContent-Type: " + kind + b"\r\n\r\nto Ann \xff\r\n")
    assert text.startswith("Subject: Pay")


@pytest.mark.parametrize(
    ("subject", "read"),
    [
        (b"=?utf-8?q?M=C3=A4rz?= =?utf-8?b?MjAyNg==?=", "März2026"),
        (b"=?iso-8859-1?q?M=E4rz?= 2026", "März 2026"),
        (b"Invoice\r\n 2231\r\n\tfrom Ann", "Invoice 2231 from Ann"),
        ("Zahlung für März".encode(), "Zahlung für März"),
        (b"caf\xe9", "caf\ufffd"),
        (b"=?nonsense?q?Ann?=", "Ann"),
        (b"=?idna?q?Ann?= =?zip?q?Bob?=", "AnnBob"),
        (b"=?utf-8?b?a?=", "=?utf-8?b?a?="),
        (b"=?utf-7?q?+2AA-?= x", "? x"),
    ],
)
def test_a_subject_is_read_as_it_was_meant_or_as_it_stands(subject: bytes, read: str) -> None:
    assert eml_to_text(b"Subject: " + subject + b"\r\n\r\nPay") == f"Subject: {read}\n\nPay"


@pytest.mark.parametrize(
    ("charset", "content", "read"),
    [
        (b"iso-8859-2", b"z\xb3oty", "złoty"),
        (b"us-ascii", "złoty".encode(), "złoty"),
        (b"utf-8", b"z\xb3oty", "z\ufffdoty"),
        (b"utf-16", b"\xff\xfeP\x00a\x00", "Pa"),
        (b"x-unknown", "złoty".encode(), "złoty"),
        (b"rot13", b"Pay", "Pay"),
        (b"punycode", b"Pay", "Pay"),
        (b"undefined", b"Pay", "Pay"),
        (b'"a\0b"', b"Pay", "Pay"),
    ],
)
def test_a_character_set_that_lies_loses_no_more_than_its_own_signs(
    charset: bytes, content: bytes, read: str
) -> None:
    assert eml_to_text(b"Content-Type: text/plain; charset=" + charset + b"\n\n" + content) == read


def test_a_character_set_named_in_one_that_cannot_be_is_none() -> None:
    assert eml_to_text(b"Content-Type: text/plain; charset*=a%00''b\n\nPay") == "Pay"


def test_the_first_text_counts_and_what_is_attached_does_not() -> None:
    raw = (
        b"Content-Type: multipart/mixed; boundary=b\n\n"
        b"--b\nContent-Type: text/plain\nContent-Disposition: attachment\n\nattached\n"
        b"--b\nContent-Type: message/rfc822\n\nSubject: another\n\nforwarded\n"
        b"--b\nContent-Type: text/html\n\n<p>marked up</p>\n"
        b"--b\nContent-Type: text/plain\n\nmeant\n"
        b"--b\nContent-Type: text/plain\n\nsecond\n--b--\n"
    )
    assert eml_to_text(raw) == "meant"


def test_parts_in_parts_are_looked_into_so_far() -> None:
    assert eml_to_text(nested(8)) == "Pay Ann"
    assert eml_to_text(nested(10_000)) == ""
    forwarded = b"Content-Type: message/rfc822\r\n\r\n" * 10_000
    assert eml_to_text(b"Subject: Pay\r\n" + forwarded) == "Subject: Pay"


def test_many_parts_hide_no_text_that_comes_before_them() -> None:
    attached = b"--b\nContent-Type: image/png\n\n0\n" * 20_000
    first = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + _PLAIN + b"\n"
    assert eml_to_text(first + attached) == "Pay Ann"


def test_an_instruction_without_an_end_and_html_without_an_end_end() -> None:
    assert html_to_text("<p>Pay Ann</p><?xml" + " " * 700_000) == "Pay Ann"
    assert html_to_text("Pay Ann" + "<p>a" * 100_000).startswith("Pay Ann\na")
    assert html_to_text('<p>Pay<?xml version="1.0" encoding="utf-8"?> Ann</p>') == "Pay Ann"


def test_quoted_mail_is_found_in_long_texts_and_among_long_lines() -> None:
    intro = "On Tue, 5 Aug 2025 at 6:48 AM Ann <a@x.com> wrote:"
    long = "Op " + "heeft " * 30_000
    new, history = split_history(f"{long}\n{intro}\n> Pay Bob" + "\n> more" * 50_000)
    assert new == f"{long}\n{intro}"
    assert history.startswith("> Pay Bob\n> more")
    assert split_history("Pay Ann\n" * 100_000)[1] == ""
