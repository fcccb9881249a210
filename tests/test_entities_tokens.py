"""Tokens keep their character offsets: nothing about the text is ever lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.entities.tokens import tokenize


@given(st.text())
def test_tokens_and_gaps_give_back_any_text(text: str) -> None:
    whole, done = "", 0
    for token in tokenize(text):
        gap = text[done : token.start]
        assert gap == "" or gap.isspace()
        assert token.text == text[token.start : token.end] != ""
        whole += gap + token.text
        done = token.end
    assert whole + text[done:] == text
    assert text[done:] == "" or text[done:].isspace()


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("£35k to O'Leary's", ["£", "35", "k", "to", "O'Leary", "'s"]),
        ("CHF 2'350.00", ["CHF", "2'350.00"]),
        ("USD1,000", ["USD", "1,000"]),
        ("Borowik Sp. z o.o.", ["Borowik", "Sp", ".", "z", "o.o."]),
        ("a\n\n b", ["a", "\n\n", "b"]),
        ("jan.kowalski@example.pl", ["jan.kowalski@example.pl"]),
    ],
)
def test_numbers_names_and_lines_fall_apart_where_a_span_may_end(
    text: str, tokens: list[str]
) -> None:
    assert [token.text for token in tokenize(text)] == tokens


def test_an_address_has_no_more_before_its_at_than_mail_allows() -> None:
    # Without an end to it, a text of "-1-1-1" would be looked through again from each sign on.
    whole = "-1" * 32 + "@example.com"
    assert [token.text for token in tokenize(whole)] == [whole]
    assert [token.text for token in tokenize("-" + whole)] == ["-", whole]
