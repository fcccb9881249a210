"""What the routes and the BentoML endpoints both call: score, read and pay, and look up."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import bentoml
import orjson
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row

from paydesk import __version__
from paydesk.entities.reader import Reader
from paydesk.entities.schema import Reading
from paydesk.payments.office import PaymentOffice, PaymentOutcome
from paydesk.payments.payment import PaymentPage, PaymentRecord
from paydesk.risk.forest import Forest
from paydesk.risk.rules import SHIPPED, RuleBook
from paydesk.risk.scorer import Scorer
from paydesk.risk.transaction import Decision, Level, Transaction
from paydesk.settings import Settings
from paydesk.storage.database import now_us, open_database
from paydesk.storage.decision_log import DecisionLog
from paydesk.storage.identifiers import new_id
from paydesk.web import holding
from paydesk.web.holding import PaymentHeldError, PaymentOrder

MOST_CHARACTERS = 200_000
_BANK_CALLS = 32  # at a time, a worker


class Email(BaseModel):
    """The text of one e-mail."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"email": "Please pay 1,250.00 EUR to Northwind Ltd from Contoso GmbH."}
        }
    )

    email: str = Field(min_length=1, max_length=MOST_CHARACTERS, strict=True)


class Application:
    """The models, the database and the bank, opened once a worker."""

    def __init__(
        self,
        scorer: Scorer,
        reader: Reader,
        decisions: DecisionLog,
        office: PaymentOffice,
        *,
        settings: Settings,
        models: dict[str, str],
    ) -> None:
        self.scorer = scorer
        self.reader = reader
        self.decisions = decisions
        self.office = office
        self.settings = settings
        self._bank_threads = ThreadPoolExecutor(_BANK_CALLS, thread_name_prefix="bank")
        self.models = models

    @classmethod
    def open(
        cls, settings: Settings, risk: bentoml.Model, entities: bentoml.Model
    ) -> "Application":
        """Loads both models, opens the database, and begins to reconcile payments.

        Raises ServingFormError, RulesError or DatabaseUnavailableError: each says what to do.
        """
        models = {model.tag.name: _version(model) for model in (risk, entities)}
        rules = RuleBook.read(settings.rules_file or SHIPPED)
        engine = open_database(settings.database)
        office = PaymentOffice(engine, settings.bank)
        office.start()
        return cls(
            Scorer(Forest.load(Path(risk.path)), rules, f"risk:{models['risk']}"),
            Reader.load(Path(entities.path)),
            DecisionLog(engine),
            office,
            settings=settings,
            models=models,
        )

    async def score(self, tx: Transaction) -> Decision:
        """The decision about `tx`, once it is on disk."""
        verdict = self.scorer.score(tx)
        decision = Decision(
            tx_id=tx.tx_id,
            score=verdict.points,
            risk_level=verdict.level.name,
            triggered_rules=verdict.triggered_rules,
            fraud=verdict.fraud,
            fraud_probability=verdict.probability,
            reasons=verdict.reasons,
            model=self.scorer.model,
            decision_id=new_id(),
        )
        await self.decisions.append(
            {
                "decision_id": decision.decision_id,
                "recorded_at_us": now_us(),
                "tx_id": tx.tx_id,
                "amount": repr(tx.amount),
                "category": tx.category,
                "hour": tx.hour,
                "store": tx.store,
                "customer_id": tx.customer_id,
                "level": int(verdict.level),
                "points": verdict.points,
                "fraud": verdict.fraud,
                "fraud_probability": verdict.probability,
                "triggered_rules": orjson.dumps(verdict.triggered_rules).decode(),
                "reasons": orjson.dumps(verdict.reasons).decode(),
                "model": self.scorer.model,
            }
        )
        return decision

    async def predict(self, email: Email) -> Reading:
        """The payment fields of an e-mail."""
        return await asyncio.to_thread(self.reader.read, email.email)

    async def pay(
        self, order: PaymentOrder, client_key: str | None, request_id: str | None
    ) -> PaymentOutcome:
        """Sends a payment once, unless its risk holds it.

        Raises PaymentHeldError, OverrideInvalidError, and what PaymentOffice.pay raises.
        """
        told = await asyncio.to_thread(self.office.stored, order, client_key)
        if told is not None:
            return told
        level = await self._let_through(order)
        # Threads of its own: a bank that stalls must not hold up whoever reads the database.
        call = partial(
            self.office.pay,
            order,
            client_key,
            request_id or new_id(),
            note=holding.note(order, level),
        )
        return await asyncio.get_running_loop().run_in_executor(self._bank_threads, call)

    async def _let_through(self, order: PaymentOrder) -> Level:
        """The payment's risk; raises PaymentHeldError where a person has to say why it may go."""
        bank = self.settings.bank
        if order.override is not None:
            decided = await asyncio.to_thread(self.decisions.decision, order.override.decision_id)
            holding.confirmed(order, decided, bank)
        transaction = holding.as_transaction(order, bank, datetime.now().astimezone())
        decision = await self.score(transaction)
        level = Level[decision.risk_level]
        floor = self.settings.hold_payments_from
        if order.override is None and floor != "NEVER" and level >= Level[floor]:
            raise PaymentHeldError(decision)
        return level

    async def payment(self, payment_id: str) -> PaymentRecord:
        """The payment with its history. Raises PaymentNotFoundError."""
        return await asyncio.to_thread(self.office.payment, payment_id)

    async def payments(self, cursor: str | None, limit: int) -> PaymentPage:
        """A page of payments, newest first. Raises CursorInvalidError."""
        return await asyncio.to_thread(self.office.payments, cursor, limit)

    async def transaction(self, tx_id: str) -> dict[str, Any] | None:
        """The newest decision about `tx_id`."""
        row = await asyncio.to_thread(self.decisions.latest, tx_id)
        return None if row is None else _shown(row)

    async def stats(self) -> dict[str, Any]:
        """Decisions since the log began, over all workers; `high` counts HIGH and CRITICAL."""
        totals = await asyncio.to_thread(self.decisions.totals)
        by_level = {level.name: totals.get(int(level), 0) for level in Level}
        return {
            "total": sum(by_level.values()),
            "high": by_level["HIGH"] + by_level["CRITICAL"],
            "by_level": by_level,
        }

    async def health(self) -> dict[str, Any]:
        """Raises DatabaseUnavailableError when the log cannot be read."""
        await asyncio.to_thread(self.decisions.totals)
        return {"status": "ok", "version": __version__, "models": self.models}

    def status(self) -> dict[str, Any]:
        """What this service is."""
        return {
            "service": "monitoring",
            "version": __version__,
            "status": "ok",
            "models": self.models,
            "bank": self._bank(),
        }

    def _bank(self) -> str:
        if self.office.missing:
            return "none configured"
        return "sandbox" if self.settings.bank.sandbox else self.settings.bank.base_url

    def close(self) -> None:
        """Writes what waits and lets go of the database and the bank."""
        self._bank_threads.shutdown()
        self.decisions.close()
        self.office.close()


def _version(model: bentoml.Model) -> str:
    return str(model.info.metadata.get("registry_version", "unknown"))


def _shown(row: Row[Any]) -> dict[str, Any]:
    recorded = datetime.fromtimestamp(row.recorded_at_us / 1e6, UTC)
    return {
        "tx_id": row.tx_id,
        "status": "found",
        "score": row.points,
        "risk_level": Level(row.level).name,
        "triggered_rules": orjson.loads(row.triggered_rules),
        "fraud": row.fraud,
        "fraud_probability": row.fraud_probability,
        "reasons": orjson.loads(row.reasons),
        "model": row.model,
        "decision_id": row.decision_id,
        "recorded_at": recorded.isoformat(),
    }
