"""Searches every log that the suite made for what must be in none."""

import re
from pathlib import Path

from paydesk.examples import EMAIL
from paydesk.payments.sandbox import sandbox_settings

_TESTS = Path(__file__).parent
_HOMES: set[Path] = set()
_SECRETS: set[str] = set()


def remember_home(home: Path) -> None:
    """The logs in this folder are searched at the end."""
    _HOMES.add(home)


def remember_secret(secret: str) -> None:
    """This text must be in no log."""
    _SECRETS.add(secret)


def logs() -> list[Path]:
    """Every log of the suite so far."""
    return sorted(path for home in _HOMES for path in home.glob("*.log"))


def found() -> list[str]:
    """Where a log says what it must not."""
    forbidden = _SECRETS | _account_names() | _email_texts() | _bank_secrets()
    places = []
    for path in logs():
        text = path.read_text("utf-8", "replace")
        places += [f"{path}: {secret!r}" for secret in forbidden if secret in text]
    return places


def _account_names() -> set[str]:
    """The payees and payers that the tests and examples write, as they write them."""
    sources = [*_TESTS.glob("*.py"), _TESTS.parent / "paydesk" / "local.py"]
    names: set[str] = set()
    for path in sources:
        names |= set(re.findall(r'"account[AB]": f?"([^"{\\]{4,})', path.read_text("utf-8")))
    return names


def _email_texts() -> set[str]:
    return {EMAIL[:40], "please transfer 480.50 GBP to Harper", "Please pay 1,250.00 EUR"}


def _bank_secrets() -> set[str]:
    return {sandbox_settings("http://127.0.0.1:1").client_secret.get_secret_value()}
