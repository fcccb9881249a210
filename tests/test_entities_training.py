"""Annotated mail: what is accepted, what is refused, and what the shipped corpus promises."""

import json
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from paydesk.entities.amounts import amount
from paydesk.entities.currencies import currency
from paydesk.entities.names import name
from paydesk.entities.tokens import tokenize
from training.emails import Variator, load_corpus, load_own
from training.markup import Mail, MailError, Span, load_marked, parse

ROOT = Path(__file__).parents[1]
EMAILS = ROOT / "tests" / "data" / "emails"


def test_inline_markup_becomes_spans_of_the_bare_text() -> None:
    text, spans = parse("Pay <<cur|£>><<amt|35k>> to <<to_org|Lumen & Co>>.")
    assert text == "Pay £35k to Lumen & Co."
    assert spans == (Span(4, 5, "cur"), Span(5, 8, "amt"), Span(12, 22, "to_org"))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        ('{"spans": []}', "the member 'text' is missing"),
        ('{"text": "a"}', "the member 'spans' is missing"),
        ('{"text": " ", "spans": []}', "'text' is empty"),
        ('{"text": "abc", "spans": [[0, 9, "AMOUNT"]]}', "outside the text of 3 characters"),
        ('{"text": "abc", "spans": [[2, 1, "AMOUNT"]]}', "outside the text"),
        ('{"text": "abc", "spans": [[0, 1, "SUM"]]}', "the label 'SUM'; use one of AMOUNT"),
        ('{"text": "abc", "spans": [[0, 2, "AMOUNT"], [1, 3, "CURRENCY"]]}', "overlap"),
        ('{"text": "abc", "spans": [[0, 2]]}', r"write \[start, end, label\]"),
    ],
)
def test_a_wrong_line_of_own_mail_is_named_with_its_fault(
    tmp_path: Path, line: str, complaint: str
) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text('{"text": "fine", "spans": []}\n' + line + "\n", encoding="utf-8")
    with pytest.raises(MailError, match=rf"own\.jsonl, line 2: .*{complaint}"):
        load_own(file)


def test_an_empty_set_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(MailError, match="holds no mail"):
        load_own(file)


def test_bad_input_ends_the_script_with_code_2_and_no_run(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text('{"text": "abc", "spans": [[0, 9, "AMOUNT"]]}\n', encoding="utf-8")
    store = tmp_path / "mlflow.db"
    script = [sys.executable, "training/train_entities.py", "--data", str(file)]
    done = subprocess.run(
        [*script, "--tracking-uri", f"sqlite:///{store}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "own.jsonl, line 1: 'spans' [0, 9] lies outside the text of 3 characters" in said
    assert "Traceback" not in done.stderr
    assert not store.exists()


def test_own_mail_gets_its_form_from_its_spans(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    text = "Pay £35k to Lumen & Co from Ash Ltd"
    spans = [[4, 5, "CURRENCY"], [5, 8, "AMOUNT"], [12, 22, "ACCOUNT_A"], [28, 35, "ACCOUNT_B"]]
    file.write_text(json.dumps({"text": text, "spans": spans}) + "\n", encoding="utf-8")
    assert load_own(file)[0].fields == {
        "amount": "35000",
        "currency": "GBP",
        "accountA": "Lumen & Co",
        "accountB": "Ash Ltd",
    }


@pytest.fixture(scope="module")
def corpus() -> list[Mail]:
    return load_corpus()


def test_the_corpus_is_large_and_a_fifth_asks_for_no_payment(corpus: list[Mail]) -> None:
    assert len(corpus) >= 1000
    share = sum(not mail.asks_for_payment for mail in corpus) / len(corpus)
    assert 0.15 < share < 0.3


def test_every_annotated_span_ends_where_tokens_end(corpus: list[Mail]) -> None:
    for mail in [*corpus, *load_marked(EMAILS / "dev.jsonl")]:
        starts = {token.start for token in tokenize(mail.text)}
        ends = {token.end for token in tokenize(mail.text)}
        for span in mail.spans:
            assert span.start in starts, mail.id
            assert span.end in ends, mail.id


def test_every_annotated_sum_mark_and_name_is_normalised_to_its_field(corpus: list[Mail]) -> None:
    wrong = []
    for mail in corpus:
        for span in mail.spans:
            surface = mail.text[span.start : span.end]
            if span.tag == "amt":
                read, right = amount(surface), mail.fields["amount"]
                if read is None or right is None or Decimal(read) != Decimal(right):
                    wrong.append((mail.id, surface, read))
        names = {
            name(mail.text[s.start : s.end]) for s in mail.spans if s.tag[:3] in ("to_", "fro")
        }
        wrong += [
            (mail.id, field, mail.fields[field])
            for field in ("accountA", "accountB")
            if mail.fields[field] is not None and mail.fields[field] not in names
        ]
        marks = [mail.text[s.start : s.end] for s in mail.spans if s.tag == "cur"]
        codes = {found.code for m in marks for found in [currency(m, mail.text)] if found}
        if marks and mail.fields["currency"] not in codes:
            wrong.append((mail.id, "currency", mail.fields["currency"]))
    assert len(wrong) <= 0.01 * len(corpus), wrong


def _five_grams(mail: Mail) -> set[tuple[str, ...]]:
    text = mail.text
    for span in reversed(mail.spans):
        text = f"{text[: span.start]} _ {text[span.end :]}"
    words = re.findall(r"\w+", text.lower())
    grams = {tuple(words[i : i + 5]) for i in range(len(words) - 4)}
    return {gram for gram in grams if gram.count("_") <= 1}


def test_no_mail_held_out_is_a_near_copy_of_one_learnt_from(corpus: list[Mail]) -> None:
    # Set phrases ("please do not hesitate to") are shared by all who write English: a copy shares
    # more than a handful.
    learnt: dict[tuple[str, ...], set[str]] = {}
    for mail in corpus:
        for gram in _five_grams(mail):
            learnt.setdefault(gram, set()).add(mail.id)
    for file in ("dev.jsonl", "test.jsonl"):
        for mail in load_marked(EMAILS / file):
            shared: dict[str, int] = {}
            grams = _five_grams(mail)
            for gram in grams:
                for other in learnt.get(gram, ()):
                    shared[other] = shared.get(other, 0) + 1
            most = max(shared.values(), default=0)
            assert most <= max(3, 0.15 * len(grams)), (mail.id, shared)


def test_a_varied_mail_keeps_its_structure_and_its_annotation(corpus: list[Mail]) -> None:
    variator = Variator(corpus[:100], seed=1)
    for mail in corpus[:100]:
        other = variator.vary(mail)
        assert [span.tag for span in other.spans] == [span.tag for span in mail.spans]
        for span in other.spans:
            assert other.text[span.start : span.end].strip()
        assert {f for f, v in other.fields.items() if v} == {f for f, v in mail.fields.items() if v}


def test_the_same_seed_varies_alike(corpus: list[Mail]) -> None:
    def texts(seed: int) -> list[str]:
        variator = Variator(corpus[:20], seed)
        return [variator.vary(mail).text for mail in corpus[:20]]

    assert texts(5) == texts(5)
    assert texts(5) != texts(6)
