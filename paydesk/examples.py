"""`paydesk try`: ten transactions and one e-mail to a running service, shown as a table."""

from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

import requests
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from paydesk.entities.schema import Reading
from paydesk.errors import PaydeskError
from paydesk.risk.transaction import Decision, Level

TRANSACTIONS: list[dict[str, Any]] = [
    {"tx_id": "TX001", "amount": 50.0, "category": "food", "hour": 14},
    {"tx_id": "TX002", "amount": 1800.0, "category": "electronics", "hour": 10},
    {"tx_id": "TX003", "amount": 4500.0, "category": "electronics", "hour": 3},
    {"tx_id": "TX004", "amount": 120.5, "category": "clothing", "hour": 18},
    {"tx_id": "TX005", "amount": 3200.0, "category": "travel", "hour": 11},
    {"tx_id": "TX006", "amount": 22.0, "category": "transport", "hour": 2},
    {"tx_id": "TX007", "amount": 2900.0, "category": "electronics", "hour": 1},
    {"tx_id": "TX008", "amount": 75.0, "category": "health", "hour": 9},
    {"tx_id": "TX009", "amount": 8200.0, "category": "home", "hour": 13},
    {"tx_id": "TX010", "amount": 15.9, "category": "entertainment"},
]
EMAIL = (
    "Hi Anna,\n\nplease pay invoice 2231 from Contoso GmbH: EUR 1,250.00 to Northwind Traders Ltd, "
    "by Friday.\n\nThanks\nTom"
)
_TIMEOUT_S = 10

T = TypeVar("T", bound=BaseModel)


class ServiceUnreachableError(PaydeskError):
    """No Paydesk answers at the address."""


def run(url: str, key: str | None, console: Console, cacert: Path | None = None) -> None:
    """Sends the examples to the service at `url` and prints what it says; trusts `cacert` alone.

    Raises ServiceUnreachableError, also when an answer is not what Paydesk answers.
    """
    base = url.rstrip("/")
    with requests.Session() as session:
        session.verify = True if cacert is None else str(cacert)
        if key:
            session.headers["Authorization"] = f"Bearer {key}"
        decisions = [(tx, _post(session, f"{base}/score", tx, Decision)) for tx in TRANSACTIONS]
        reading = _post(session, f"{base}/predict", {"email": EMAIL}, Reading)
    console.print(_table(decisions))
    labels = {label for _, decision in decisions for label in decision.triggered_rules}
    console.print("   ".join(sorted(labels)), highlight=False)
    counts = Counter(decision.risk_level for _, decision in decisions)
    console.print("   ".join(f"{level.name} {counts[level.name]}" for level in reversed(Level)))
    console.print(f"\n{EMAIL}\n", style="dim", markup=False, highlight=False)
    for name in ("amount", "currency", "accountA", "accountB"):
        shown = getattr(reading, name) or "–"
        console.print(f"{name:>9}  {shown}", markup=False, highlight=False)


def _table(decisions: list[tuple[dict[str, Any], Decision]]) -> Table:
    table = Table()
    for heading, justify in (
        ("id", "left"),
        ("amount", "right"),
        ("category", "left"),
        ("hour", "right"),
        ("level", "left"),
        ("points", "right"),
        ("probability", "right"),
        ("rules", "left"),
    ):
        table.add_column(heading, justify="right" if justify == "right" else "left")
    for tx, decision in decisions:
        table.add_row(
            tx["tx_id"],
            f"{tx['amount']:.2f}",
            tx["category"],
            str(tx.get("hour", "–")),
            decision.risk_level,
            str(decision.score),
            f"{decision.fraud_probability:.3f}",
            " ".join(label.partition(":")[0] for label in decision.triggered_rules),
        )
    return table


def _post(session: requests.Session, url: str, body: dict[str, Any], kind: type[T]) -> T:
    try:
        # Said here: with the session alone, a bundle of the environment would come before it.
        answer = session.post(url, json=body, timeout=_TIMEOUT_S, verify=session.verify)
        content = answer.json()
    except requests.exceptions.SSLError as error:
        message = f"The certificate of {url} is not trusted. Name its authority with --cacert."
        raise ServiceUnreachableError(message) from error
    except (requests.RequestException, OSError) as error:  # OSError: no file to trust
        message = f"No Paydesk answers at {url}. Start one with `make serve`, or give --url."
        raise ServiceUnreachableError(message) from error
    if answer.status_code != 200:
        said = content.get("error", content) if isinstance(content, dict) else content
        message = f"{url} answered {answer.status_code}: {said}"
        raise ServiceUnreachableError(message)
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        message = (
            f"What answers at {url} is not Paydesk. Start one with `make serve`, or give --url."
        )
        raise ServiceUnreachableError(message) from error
