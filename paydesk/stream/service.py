"""The decision about each transaction of a batch: asked of a running service, many at a time."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import aiohttp
import orjson
from pydantic import ValidationError

from paydesk.risk.transaction import Decision, Level
from paydesk.storage.stream_scorers import ScorerReport
from paydesk.stream.deciding import Decided, TryAgainError
from paydesk.stream.kafka import StreamError
from paydesk.stream.messages import Kind, Refusal, Taken

MOST_AT_ONCE = 500  # messages in a batch: all their answers are waited for
_IN_FLIGHT = 64
_PATIENCE_S = 60.0
_REPORTED_WITHIN = aiohttp.ClientTimeout(total=2)
_LONGEST_WAIT_S = 10.0
_REFUSED: Mapping[int, Kind] = {400: "invalid", 413: "too_long", 422: "conflict"}
_NOT_LET_IN = {401, 403}
_NO_PAYDESK = {404, 405}


class ViaApi:
    """/score of a running service, which keeps the log.

    Each request carries its message's position as Idempotency-Key: asked again, the service
    answers with the decision that it made.
    """

    def __init__(self, url: str, key: str | None) -> None:
        self._base = url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._runner = asyncio.Runner()
        self._session = self._runner.run(self._open())

    def decide(self, taken: Taken, values: Sequence[bytes], sources: Sequence[str]) -> Decided:
        """Raises TryAgainError, and StreamError where the service does not let this scorer in."""
        return self._runner.run(self._decide(taken, values, sources))

    def report(self, report: ScorerReport) -> None:
        """The service has it."""
        self._runner.run(self._report(report))

    def close(self) -> None:
        """Closes the connections."""
        self._runner.run(self._session.close())
        self._runner.close()

    async def _open(self) -> aiohttp.ClientSession:
        # The number of connections is what bounds those in flight.
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=_IN_FLIGHT),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30),
        )

    async def _report(self, report: ScorerReport) -> None:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.post(
                f"{self._base}/stream/scorers",
                data=report.model_dump_json(),
                headers=self._headers,
                allow_redirects=False,
                timeout=_REPORTED_WITHIN,
            ) as answer:
                await answer.read()

    async def _decide(
        self, taken: Taken, values: Sequence[bytes], sources: Sequence[str]
    ) -> Decided:
        give_up = time.monotonic() + _PATIENCE_S
        rows = taken.rows
        columns = {name: column.tolist() for name, column in rows.columns.items()}
        asked = (self._ask(values[place], sources[place], give_up) for place in rows.lines)
        answers = await asyncio.gather(*asked)
        decided = Decided({})
        for n, (place, (status, body, replayed)) in enumerate(
            zip(rows.lines, answers, strict=True)
        ):
            if status == 200:
                decided.replayed += replayed
                tx = {name: column[n] for name, column in columns.items()}
                decided.rows[place] = self._row(body, tx, sources[place])
            else:
                reason = _said(body) or f"/score answered {status}."
                decided.refusals.append(Refusal(place, _REFUSED[status], reason))
        return decided

    def _row(self, body: bytes, tx: Mapping[str, Any], source: str) -> dict[str, Any]:
        try:
            made = Decision.model_validate_json(body)
            level = Level[made.risk_level]
        except (ValidationError, KeyError) as error:
            raise self._no_paydesk() from error
        return {
            **tx,
            "tx_id": made.tx_id,
            "amount": repr(tx["amount"]),
            "decision_id": made.decision_id,
            "level": int(level),
            "points": made.score,
            "fraud": made.fraud,
            "fraud_probability": made.fraud_probability,
            "triggered_rules": orjson.dumps(made.triggered_rules).decode(),
            "reasons": orjson.dumps(made.reasons).decode(),
            "model": made.model,
            "source": source,
        }

    async def _ask(self, value: bytes, source: str, give_up: float) -> tuple[int, bytes, bool]:
        """A status that ends it, the body, and whether the service had decided before."""
        headers = {**self._headers, "Idempotency-Key": source}
        wait_s = 0.1
        while True:
            try:
                async with self._session.post(
                    f"{self._base}/score", data=value, headers=headers, allow_redirects=False
                ) as answer:
                    status, body = answer.status, await answer.read()
                    after = answer.headers.get("Retry-After", "")
                    replayed = "Idempotency-Replayed" in answer.headers
                why = f"answered {status}: {_said(body)}"
            except (aiohttp.ClientError, TimeoutError) as error:
                status, body, after, replayed = 0, b"", "", False
                why = f"does not answer ({type(error).__name__})."
            if status == 200 or status in _REFUSED:
                return status, body, replayed
            if status in _NOT_LET_IN:
                raise StreamError(f"{self._base}/score {why} Give a key of scope score with --key.")
            if status in _NO_PAYDESK:
                raise self._no_paydesk()
            pause_s = float(after) if after.isdecimal() else wait_s
            wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            if time.monotonic() + pause_s > give_up:
                raise TryAgainError(f"The service at {self._base} {why}")
            await asyncio.sleep(pause_s)

    def _no_paydesk(self) -> StreamError:
        return StreamError(
            f"What answers at {self._base} is not Paydesk. Start one with `make serve`, or give "
            "--url."
        )


def _said(body: bytes) -> str:
    try:
        return str(orjson.loads(body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
