"""What the README says is there is there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import typer
from conftest import ROOT

from paydesk.cli import app

README = (ROOT / "README.md").read_text("utf-8")


def test_the_readme_is_finished() -> None:
    assert "@@" not in README
    assert "TODO" not in README


def test_every_make_target_is_in_the_readme_and_in_help() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    told = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in targets - {"help"}:
        assert f"make {target}" in README
        assert f"make {target}" in told.stdout


def test_every_command_has_help_with_an_example() -> None:
    for words in _commands(app, []):
        done = subprocess.run(
            [sys.executable, "-m", "paydesk", *words, "--help"],
            cwd=ROOT,
            env={**os.environ, "COLUMNS": "120"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"paydesk {' '.join(words)}" in done.stdout


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_of_the_readme_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_every_setting_that_the_readme_names_exists() -> None:
    from paydesk.settings import BankSettings, Settings  # noqa: PLC0415

    known = {f"PAYDESK_{name.upper()}" for name in Settings.model_fields}
    known |= {f"PAYDESK_BANK_{name.upper()}" for name in BankSettings.model_fields}
    named = set(re.findall(r"PAYDESK_[A-Z_]+", README))
    assert named
    assert named <= known


def test_the_bank_settings_that_payments_need_are_in_the_readme() -> None:
    from paydesk.payments.instruction import missing_settings  # noqa: PLC0415
    from paydesk.settings import BankSettings  # noqa: PLC0415

    missing = missing_settings(BankSettings())
    assert missing
    for name in missing:
        assert name in README


def _commands(group: typer.Typer, words: list[str]) -> Iterator[list[str]]:
    for command in group.registered_commands:
        assert command.callback is not None
        yield [*words, command.name or command.callback.__name__.replace("_", "-")]
    for below in group.registered_groups:
        assert below.typer_instance is not None
        yield from _commands(below.typer_instance, [*words, str(below.name)])
