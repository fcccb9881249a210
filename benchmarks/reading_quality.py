"""How well mail is read: the champion beside a plain reader, on every set of annotated mail.

    python -m benchmarks.reading_quality [--test] [--sgd FILE] [--folder FOLDER]

The figures of docs/reading.md. The plain reader is thirty templates with the features that
tutorials use. `--test` is for the figure in the docs, not for tuning. `--sgd` names turns of
Schema-Guided Dialogue (Google, CC BY-SA 4.0) as JSONL of `{"text", "spans": [[start, end, slot]],
"speaker"}`: of what a person says, only sums and payees are counted.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.servers import champion
from paydesk.entities.amounts import amount
from paydesk.entities.evaluation import FIELDS, Form, same, score
from paydesk.entities.names import name
from paydesk.entities.reader import Reader
from paydesk.entities.schema import Field
from training.emails import Variator
from training.entities_baseline import fit_baseline, read_baseline
from training.markup import Mail, load_marked

_EMAILS = Path(__file__).parents[1] / "tests/data/emails"
_COLUMNS = ("exact_match", "micro_f1", "empty_exact", *(f"{name}_accuracy" for name in FIELDS))
_SUMS = ("amount", "transfer_amount")
_PAYEES = ("recipient_account_name", "recipient_name")
_SEED = 20
_BINS = (0.0, 0.5, 0.7, 0.85, 0.95, 1.0)
_Read = Callable[[str], Form]


def main(
    test: Annotated[bool, typer.Option("--test", help="Also the mail nobody tunes on.")] = False,
    sgd: Annotated[Path | None, typer.Option(help="Turns of SGD.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Another reader's serving form.")] = None,
) -> None:
    """Prints the figures as Markdown."""
    reader = Reader.load(folder or champion("entities")[0])
    crf = fit_baseline()

    def read(text: str) -> Form:
        return reader.read(text).model_dump(include=set(FIELDS))

    readers: dict[str, _Read] = {"plain": lambda text: read_baseline(crf, text), "Paydesk": read}
    dev = load_marked(_EMAILS / "dev.jsonl")
    variator = Variator(dev, _SEED)
    sets = {"dev": dev, "generated: dev, varied": [variator.vary(mail) for mail in dev]}
    if test:
        sets["test"] = load_marked(_EMAILS / "test.jsonl")
    print("| mail | reader |", " | ".join(_COLUMNS), "|")
    for title, mails in sets.items():
        for who, reads in readers.items():
            figures = score((reads(mail.text), mail.fields) for mail in mails)
            row = " | ".join(f"{figures[column]:.3f}" for column in _COLUMNS)
            print(f"| {title} ({len(mails)}) | {who} | {row} |")
    if sgd is not None:
        turns = list(_turns(sgd))
        for who, reads in readers.items():
            print(f"| SGD ({len(turns)} turns) | {who} |", _found(reads, turns))
    print("\nConfidence on dev:")
    for line in _confidences(reader, dev):
        print(line)


def _turns(path: Path) -> Iterator[tuple[str, dict[Field, str]]]:
    """What a person says that names a sum or a payee, and these."""
    for line in path.read_text("utf-8").splitlines():
        turn = json.loads(line)
        said: str = turn["text"]
        right: dict[Field, str] = {}
        for start, end, slot in turn["spans"]:
            if slot in _SUMS and (value := amount(said[start:end])) is not None:
                right["amount"] = value
            elif slot in _PAYEES:
                right["accountA"] = name(said[start:end], person=True)
        if right and turn["speaker"] == "USER":
            yield said, right


def _found(reads: _Read, turns: Sequence[tuple[str, dict[Field, str]]]) -> str:
    counted: tuple[Field, ...] = ("amount", "accountA")
    hits, wanted = dict.fromkeys(counted, 0), dict.fromkeys(counted, 0)
    given = 0
    for said, right in turns:
        answer = reads(said)
        for field in counted:
            given += answer[field] is not None
            wanted[field] += field in right
            hits[field] += field in right and same(field, answer[field], right[field])
    f1 = 2 * sum(hits.values()) / max(given + sum(wanted.values()), 1)
    shares = (hits[field] / max(wanted[field], 1) for field in counted)
    return " | ".join(f"{figure:.3f}" for figure in (f1, *shares)) + " |"


def _confidences(reader: Reader, mails: Sequence[Mail]) -> Iterator[str]:
    """How often what is said with a confidence is right, by confidence."""
    told: list[tuple[float, bool]] = []
    for mail in mails:
        reading = reader.read(mail.text)
        for field in FIELDS:
            is_right = same(field, getattr(reading, field), mail.fields[field])
            told.append((getattr(reading.confidence, field), is_right))
    for low, high in pairwise(_BINS):
        those = [(said, right) for said, right in told if low < said <= high or said == low == 0]
        if those:
            mean = sum(said for said, _ in those) / len(those)
            share = sum(right for _, right in those) / len(those)
            yield f"{low} to {high}, {len(those)} fields: mean {mean:.2f}, right {share:.2f}"


if __name__ == "__main__":
    typer.run(main)
