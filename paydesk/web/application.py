"""What the routes and the BentoML endpoints both call: score, read and pay, and look up."""

import asyncio
import os
from collections.abc import AsyncGenerator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import bentoml
from sqlalchemy import Engine
from starlette.requests import Request

from paydesk import __version__
from paydesk.bulk.log_rows import log_row
from paydesk.entities.reader import Reader
from paydesk.entities.schema import Reading
from paydesk.payments.approval import Approval
from paydesk.payments.office import PaymentOffice, PaymentOutcome
from paydesk.payments.payment import PaymentPage, PaymentRecord, State
from paydesk.risk.forest import Forest
from paydesk.risk.rules import SHIPPED, RuleBook
from paydesk.risk.scorer import Scorer
from paydesk.risk.transaction import Decision, Level, Transaction
from paydesk.settings import PAYMENT_WAIT_S, Settings
from paydesk.storage.database import now_us
from paydesk.storage.decision_history import DecisionFilter, DecisionHistory, Position
from paydesk.storage.decision_log import DecisionLog
from paydesk.storage.decision_writer import is_about
from paydesk.storage.identifiers import new_id
from paydesk.storage.jobs import Kind
from paydesk.storage.payment_states import payments_by_state
from paydesk.storage.stream_scorers import (
    HeardScorer,
    ScorerReport,
    heard_scorers,
    report_scorer,
)
from paydesk.web import counts, decision_table, holding
from paydesk.web.answers import Email
from paydesk.web.bulk import Bulk
from paydesk.web.errors import DecisionKeyReusedError
from paydesk.web.holding import PaymentHeldError, PaymentOrder
from paydesk.web.jobs import Jobs
from paydesk.web.lanes import Lane, Shared
from paydesk.web.mail_text import Message, mail_text
from paydesk.web.metrics import Metrics
from paydesk.web.review import PaymentForm, Review, review
from paydesk.web.row_forms import Wanted
from paydesk.web.row_work import Works

_SCORED_WITHIN_S = 45  # Longer than what scoring waits for, which has sentences of its own.
_EXPORTED_AT_ONCE = 1_000  # rows in memory, of an export of any length


class Application:
    """The models, the database and the bank, opened once a worker.

    Blocking work goes through lanes, one a kind: a bank that stalls holds up no look-up, and
    a thousand e-mails no probe.
    """

    def __init__(
        self,
        scorer: Scorer,
        reader: Reader,
        engine: Engine,
        office: PaymentOffice,
        metrics: Metrics,
        *,
        settings: Settings,
        models: dict[str, str],
    ) -> None:
        self.scorer = scorer
        self.reader = reader
        self.office = office
        self.metrics = metrics
        self.settings = settings
        self.models = models
        self._engine = engine
        self._log = DecisionLog(engine, metrics)
        self._history = DecisionHistory(engine)
        # Shorter than the service's own timeout, which knows no sentence.
        self._reading = Lane("reading", threads=_cores(), waiting=64, deadline_s=30)
        self._works = Works(scorer, reader, metrics.scored_all)
        home = settings.home.resolve()
        self._bulk = Bulk(home, self._log)
        self.jobs = Jobs(home, engine, self._log, self._bulk, self._works, settings.jobs_bytes)
        self._payments = Lane("payments", threads=32, waiting=64, deadline_s=PAYMENT_WAIT_S)
        self._look_ups = Lane("look-ups", threads=8, waiting=256, deadline_s=20)
        self._probes = Lane("probes", threads=2, waiting=32, deadline_s=10)
        # Anyone may ask for the health, without a key: the database is asked once a second.
        self._readable = Shared(partial(self._probes.run, self._history.totals), fresh_s=1)
        self._scrapes = Lane("metrics", threads=1, waiting=8, deadline_s=10)

    @classmethod
    def open(
        cls,
        settings: Settings,
        engine: Engine,
        metrics: Metrics,
        risk: bentoml.Model,
        entities: bentoml.Model,
        models: dict[str, str],
    ) -> "Application":
        """Loads both models, whose versions by name are `models`, and begins to reconcile payments.

        Raises ServingFormError or RulesError: each says what to do.
        """
        rules = RuleBook.read(settings.rules_file or SHIPPED)
        office = PaymentOffice(engine, settings.bank)
        office.start()
        return cls(
            Scorer(Forest.load(Path(risk.path)), rules, f"risk:{models['risk']}"),
            Reader.load(Path(entities.path)),
            engine,
            office,
            metrics,
            settings=settings,
            models=models,
        )

    async def score(self, tx: Transaction) -> Decision:
        """The decision about `tx`, once it is on disk."""
        decision, row = self._decide(tx)
        await self._log.append(row)
        self.metrics.scored(decision.risk_level, decision.fraud_probability)
        return decision

    async def score_once(self, tx: Transaction, key: str) -> tuple[Decision, bool]:
        """As `score`, and whether it was made before, under the caller's `key`.

        Raises DecisionKeyReusedError where that was about another transaction.
        """
        decision, row = self._decide(tx)
        earlier = await self._log.append({**row, "source": key})
        if earlier is None or earlier.decision_id == decision.decision_id:
            self.metrics.scored(decision.risk_level, decision.fraud_probability)
            return decision, False
        if not is_about(earlier, row):
            raise DecisionKeyReusedError
        return decision_table.decision(earlier), True

    def _decide(self, tx: Transaction) -> tuple[Decision, dict[str, Any]]:
        """The decision about `tx`, and its row in the log."""
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
        subject = (tx.tx_id, tx.amount, tx.category, tx.hour, tx.store, tx.customer_id)
        found = (
            int(verdict.level),
            verdict.points,
            verdict.fraud,
            verdict.probability,
            verdict.triggered_rules,
            verdict.reasons,
        )
        row = log_row(decision.decision_id, now_us(), subject, found, self.scorer.model)
        return decision, row

    def bulk(self, kind: Kind, request: Request, asked: Wanted) -> AsyncGenerator[bytes]:
        """Decisions about rows, each on disk before it is answered; or their payment fields."""
        return self._bulk.answer(request, asked, self._works.work(kind, asked.answer))

    async def predict(self, email: Email) -> Reading:
        """The payment fields of an e-mail."""
        return await self._reading.run(self.reader.read, email.email)

    async def mail_text(self, message: Message) -> dict[str, Any]:
        """The text of a message as it travels."""
        return await self._reading.run(mail_text, message)

    async def review(self, form: PaymentForm) -> Review:
        """What a payment would be. Raises BankNotConfiguredError, PaymentInvalidError."""
        alike = await self._look_ups.run(self.office.alike, form)
        return review(form, self.scorer, self.settings, alike)

    async def pay(
        self, order: PaymentOrder, client_key: str | None, request_id: str | None
    ) -> PaymentOutcome:
        """Sends a payment once, unless its risk holds it.

        Raises PaymentHeldError, OverrideInvalidError, and what PaymentOffice.pay raises.
        """
        loop = asyncio.get_running_loop()

        def before_new() -> Approval | None:
            scored = asyncio.run_coroutine_threadsafe(self._let_through(order), loop)
            return scored.result(_SCORED_WITHIN_S)

        call = partial(
            self.office.pay,
            order,
            client_key,
            request_id or new_id(),
            before_new=before_new,
            remark=holding.remark(order),
            beside=order.beside,
        )
        return await self._payments.run(call)

    async def _let_through(self, order: PaymentOrder) -> Approval | None:
        """Scores a new payment. Raises PaymentHeldError, OverrideInvalidError."""
        named = None
        if order.override is not None:
            named = await self._look_ups.run(self._history.decision, order.override.decision_id)
        now = datetime.now().astimezone()
        asked = partial(holding.as_transaction, order, self.settings.bank, now)
        decision = await self.score(asked(confirmed=order.override is not None))
        floor = self.settings.hold_payments_from
        try:
            return holding.let_through(order, decision, named, floor, now_us())
        except PaymentHeldError:
            if order.override is None:
                raise
            # Held anew: a decision that the next override may name.
            raise PaymentHeldError(await self.score(asked())) from None

    async def payment(self, payment_id: str) -> PaymentRecord:
        """The payment with its history. Raises PaymentNotFoundError."""
        return await self._look_ups.run(self.office.payment, payment_id)

    async def payments(self, cursor: str | None, limit: int, state: State | None) -> PaymentPage:
        """A page of payments, newest first. Raises CursorInvalidError."""
        return await self._look_ups.run(self.office.payments, cursor, limit, state)

    async def transaction(self, tx_id: str) -> dict[str, Any] | None:
        """The newest decision about `tx_id`."""
        row = await self._look_ups.run(self._history.latest, tx_id)
        return None if row is None else decision_table.shown(row)

    async def decisions(
        self, which: DecisionFilter, before: Position | None, limit: int
    ) -> dict[str, Any]:
        """A page of decisions, newest first."""
        rows, following = await self._look_ups.run(self._history.page, which, before, limit)
        return {
            "decisions": [decision_table.shown(row) for row in rows],
            "next_cursor": following and f"{following.recorded_at_us}.{following.seq}",
        }

    async def export(self, which: DecisionFilter) -> AsyncGenerator[str]:
        """All decisions as CSV, newest first, in parts: an export of any length fits memory."""
        part, before = await self._look_ups.run(self._exported, which, None)
        yield decision_table.heading() + part
        while before is not None:
            part, before = await self._look_ups.run(self._exported, which, before)
            yield part

    def _exported(
        self, which: DecisionFilter, before: Position | None
    ) -> tuple[str, Position | None]:
        rows, following = self._history.page(which, before, _EXPORTED_AT_ONCE)
        return decision_table.csv_lines(rows), following

    async def stats(self) -> dict[str, Any]:
        """Decisions since the log began, over all workers; `high` counts HIGH and CRITICAL."""
        totals = await self._look_ups.run(self._history.totals)
        by_level = {level.name: totals.get(int(level), 0) for level in Level}
        return {
            "total": sum(by_level.values()),
            "high": by_level["HIGH"] + by_level["CRITICAL"],
            "by_level": by_level,
        }

    async def counts(self, window: str) -> dict[str, Any]:
        """Decisions of the window until now, by level, over time and by probability."""
        return await self._look_ups.run(counts.counts, self._engine, window, now_us())

    async def stream_scorers(self) -> list[HeardScorer]:
        """Those that score a stream, as they last said of themselves."""
        return await self._look_ups.run(heard_scorers, self._engine)

    async def report_scorer(self, report: ScorerReport) -> None:
        """Keeps what a scorer of a stream says of itself."""
        await self._look_ups.run(report_scorer, self._engine, report)

    async def health(self) -> dict[str, Any]:
        """Raises DatabaseUnavailableError when the log cannot be read."""
        await self._readable.get()
        return {
            "status": "ok",
            "version": __version__,
            "sandbox": self._bank() == "sandbox",
            "models": self.models,
        }

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

    async def measured(self) -> bytes:
        """The metrics page, over all workers."""
        self.metrics.flush()
        payments = partial(payments_by_state, self._engine)
        return await self._scrapes.run(self.metrics.page, payments, self.jobs.by_state)

    def close(self) -> None:
        """Ends what is under way, writes what waits, lets go of the database and the bank."""
        self.jobs.close()
        lanes = (self._reading, self._payments, self._look_ups, self._probes, self._scrapes)
        for lane in (*lanes, self._bulk):
            lane.close()
        self._log.close()
        self.office.close()
        self.metrics.close()
        self._engine.dispose()


def version_of(model: bentoml.Model) -> str:
    """The version that the model has in the registry."""
    return str(model.info.metadata.get("registry_version", "unknown"))


def _cores() -> int:
    return len(os.sched_getaffinity(0))
