"""The reader that is served behaves as people expect of one (after CheckList)."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import Trained

from paydesk.entities.candidates import parties, units
from paydesk.entities.evaluation import HoldoutError, evaluate
from paydesk.entities.evidence import Mail
from paydesk.entities.mail import read_files
from paydesk.entities.reader import EXAMPLES, LONGEST, MODEL, Reader, verify
from paydesk.entities.tagger import TokenSpan
from paydesk.entities.tokens import tokenize
from paydesk.serving_form import ServingFormError
from training.emails import load_corpus, write_holdout
from training.markup import load_marked
from training.train_entities import HELD_OUT

PLAIN = "Please pay £540.00 to Otter Print Ltd from the account of Ashgrove Estates Ltd."


@pytest.fixture(scope="module")
def folder(trained: Trained) -> Path:
    return trained.model("entities")


@pytest.fixture(scope="module")
def reader(folder: Path) -> Reader:
    return Reader.load(folder)


def _form(reader: Reader, text: str) -> tuple[str | None, ...]:
    answer = reader.read(text)
    return answer.amount, answer.currency, answer.accountA, answer.accountB


def test_a_mail_without_end_is_weighed_in_part() -> None:
    text = "Bob Ltd owes 7.50 " * 2_000
    tokens = tokenize(text)
    found = [TokenSpan(i, i + 1, "ORG", 0.9) for i in range(0, len(tokens) - 3, 4)]
    steps = units(tokens, found)
    assert len(parties(steps, tokens, text)[0].mentions) == 20
    start, end = Mail(tokens, steps).sentence(3_000)
    assert end - start <= 121
    names = "".join(f"Firm{n} Ltd " for n in range(500))
    tokens = tokenize(names)
    several = [TokenSpan(i, i + 1, "ORG", 0.9) for i in range(0, len(tokens), 2)]
    assert len(parties(units(tokens, several), tokens, names)) == 60


def test_what_is_too_long_is_read_in_part_and_says_so(reader: Reader) -> None:
    answer = reader.read(PLAIN + " x" * LONGEST)
    assert answer.amount == "540.00"
    assert "Only the first 50,000 of" in answer.notes[-1]


def test_a_plain_request_fills_the_form(reader: Reader) -> None:
    assert _form(reader, PLAIN) == ("540.00", "GBP", "Otter Print Ltd", "Ashgrove Estates Ltd")


def test_entities_point_into_the_text_with_confidence(reader: Reader) -> None:
    answer = reader.read(PLAIN)
    assert [entity.label for entity in answer.entities] == [
        "CURRENCY",
        "AMOUNT",
        "ACCOUNT_A",
        "ACCOUNT_B",
    ]
    for entity in answer.entities:
        assert PLAIN[entity.start : entity.end] == entity.text
        assert 0 <= entity.confidence <= 1


@pytest.mark.parametrize(
    "payee", ["Kestrel Hydraulics Ltd", "Weißbach Druck GmbH", "Tartak Borowik Sp. z o.o."]
)
def test_another_payee_leaves_the_amount_alone(reader: Reader, payee: str) -> None:
    amount, code, who, _ = _form(reader, PLAIN.replace("Otter Print Ltd", payee))
    assert (amount, code, who) == ("540.00", "GBP", payee)


def test_swapping_payer_and_payee_swaps_the_fields(reader: Reader) -> None:
    text = "Please pay £540.00 to Ashgrove Estates Ltd from the account of Otter Print Ltd."
    assert _form(reader, text)[2:] == ("Ashgrove Estates Ltd", "Otter Print Ltd")


def test_a_signature_changes_nothing(reader: Reader) -> None:
    text = f"{PLAIN}\n\nKind regards,\nMaria Olsen\nTel 0117 496 0122"
    assert _form(reader, text) == _form(reader, PLAIN)


def test_another_sum_changes_only_the_amount(reader: Reader) -> None:
    text = PLAIN.replace("540.00", "12,400.50")
    assert _form(reader, text) == ("12400.50", *_form(reader, PLAIN)[1:])


def test_upper_case_does_no_harm_to_the_sum(reader: Reader) -> None:
    assert _form(reader, PLAIN.upper())[:2] == ("540.00", "GBP")


@pytest.mark.parametrize(
    "text",
    [
        "Just to let you know that £540.00 was paid to Otter Print Ltd yesterday. Nothing to do.",
        "We have received your payment of £540.00 with thanks. This is your receipt.",
        "Hi all, the summer party is on Friday. Bring cake!",
        "",
        "   \n",
    ],
)
def test_mail_that_asks_for_nothing_leaves_the_form_empty(reader: Reader, text: str) -> None:
    assert _form(reader, text) == (None, None, None, None)


@pytest.mark.parametrize("text", ["\x00", "💸" * 500, "a" * 5000, "1 " * 2000, "\u202e£5 to Bob"])
def test_odd_text_is_read_without_fuss(reader: Reader, text: str) -> None:
    answer = reader.read(text)
    for entity in answer.entities:
        assert text[entity.start : entity.end] == entity.text


def test_threads_read_as_one_does(reader: Reader) -> None:
    texts = [mail.text for mail in load_corpus()[:40]] * 3
    alone = [reader.read(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(reader.read, texts)) == alone


def test_mail_it_never_saw_is_read_as_well_as_was_promised(reader: Reader, tmp_path: Path) -> None:
    held_out = tmp_path / "holdout.jsonl"
    write_holdout(load_marked(HELD_OUT), held_out)
    figures = evaluate(reader, held_out)
    assert figures["exact_match"] >= 0.75
    assert figures["micro_f1"] >= 0.90
    assert figures["empty_exact"] >= 0.90


def test_a_holdout_without_fields_is_named(reader: Reader, tmp_path: Path) -> None:
    held_out = tmp_path / "holdout.jsonl"
    held_out.write_text('{"text": "a"}\n', encoding="utf-8")
    with pytest.raises(HoldoutError, match=r"holdout\.jsonl, line 1"):
        evaluate(reader, held_out)


def test_an_altered_model_is_refused(folder: Path, tmp_path: Path) -> None:
    verify(folder)
    altered = shutil.copytree(folder, tmp_path / "altered")
    examples = json.loads((altered / EXAMPLES).read_text(encoding="utf-8"))
    examples["examples"][0]["tags"][0] = "B-DATE"
    (altered / EXAMPLES).write_text(json.dumps(examples), encoding="utf-8")
    with pytest.raises(ServingFormError, match="example 1: the serving form does not answer"):
        verify(altered)


@pytest.mark.parametrize(
    ("member", "value", "complaint"),
    [("kind", "risk", "not 'entities'"), ("features", "0", "train again")],
)
def test_a_model_of_another_kind_or_version_is_refused(
    folder: Path, tmp_path: Path, member: str, value: str, complaint: str
) -> None:
    altered = shutil.copytree(folder, tmp_path / "altered")
    model = json.loads((altered / MODEL).read_text(encoding="utf-8"))
    (altered / MODEL).write_text(json.dumps({**model, member: value}), encoding="utf-8")
    with pytest.raises(ServingFormError, match=complaint):
        Reader.load(altered)


def test_files_are_read_one_answer_a_mail(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(PLAIN, encoding="utf-8")
    (tmp_path / "two.html").write_text(f"<p>{PLAIN}</p>", encoding="utf-8")
    lines = json.dumps({"text": PLAIN}) + "\n" + "{\n"
    (tmp_path / "many.jsonl").write_text(lines, encoding="utf-8")
    names = ("one.txt", "two.html", "many.jsonl", "gone.txt")
    answers = list(read_files(reader, [tmp_path / name for name in names]))
    assert [answer.get("accountA") for answer in answers] == ["Otter Print Ltd"] * 3 + [None] * 2
    assert answers[3]["error"].endswith('many.jsonl, line 2: no {"text": …}; mend the line.')
    assert "gone.txt cannot be read: No such file" in answers[4]["error"]
