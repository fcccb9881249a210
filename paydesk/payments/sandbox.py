"""The sandbox bank: a real HTTP server with the bank's contract, on which no money moves."""

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from paydesk.payments.bank import SANDBOX_HEADER
from paydesk.payments.sandbox_books import Books, KeyReusedError
from paydesk.payments.sandbox_faults import FAULTS, Call, Fault, FaultPlan
from paydesk.settings import BankSettings

FAULT_HEADER = "X-Sandbox-Fault"
CLIENT_ID = "sandbox"
CLIENT_SECRET = "sandbox-secret"  # noqa: S105 (opens nothing but the sandbox)

_BODY_LIMIT = 1 << 20
_NORMAL = Fault("none", "", "booking")


def sandbox_settings(base_url: str, **changes: Any) -> BankSettings:
    """Bank settings that fit the sandbox at `base_url`; `changes` replace single ones."""
    return BankSettings(
        **{
            "base_url": base_url,
            "client_id": CLIENT_ID,
            "client_secret": SecretStr(CLIENT_SECRET),
            "sandbox": True,
            "initiating_party": "PAYDESK",
            "debtor_agent": "DEUTDEFF",
            "debtor_account": "DE89370400440532013000",
            "creditor_agent": "WESTGB22",
            "creditor_account": "GB82WEST12345698765432",
            "creditor_address": "1 Sandbox Street, London",
            **changes,
        }
    )


@dataclass(frozen=True)
class SandboxOptions:
    """How the sandbox behaves. Times are in seconds, `fault_rate` from 0 (never) to 1 (always)."""

    client_id: str = CLIENT_ID
    client_secret: SecretStr = field(default_factory=lambda: SecretStr(CLIENT_SECRET))
    fault_rate: float = 0.0
    seed: int | None = None
    token_life_s: float = 300.0
    key_life_s: float = 86_400.0
    settles_after_s: float = 5.0


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _FaultOrder(_Strict):
    fault: str | None = None
    call: Call = "initiate"
    times: int = Field(default=1, ge=1, le=10_000)
    rate: float | None = Field(default=None, ge=0, le=1)


class _Named(_Strict):
    identification: str = Field(min_length=8, max_length=11)


class _Identified(_Strict):
    instruction: str = Field(alias="instructionIdentification", min_length=1, max_length=35)
    end_to_end: str = Field(alias="endToEndIdentification", min_length=1, max_length=35)


class _Amount(_Strict):
    # Strict: the contract has a JSON number here, and a text is refused.
    amount: float = Field(gt=0, strict=True)
    currency: str = Field(pattern="^[A-Z]{3}$")


class _CreditorAccount(_Strict):
    kind: str = Field(alias="identificationType", min_length=1)
    identification: str = Field(min_length=5, max_length=34)


class _DebtorAccount(_CreditorAccount):
    name: str = Field(min_length=1, max_length=140)
    currency: str = Field(pattern="^[A-Z]{3}$")


class _Creditor(_Strict):
    name: str = Field(min_length=1, max_length=140)
    address: str | None = Field(default=None, alias="postalAddress")


class _Instruction(_Strict):
    """What the initiate call takes; the field names are the bank's."""

    source: str | None = Field(default=None, alias="sourceId")
    party: str = Field(alias="initiatingParty", min_length=1, max_length=35)
    information: str = Field(alias="paymentInformationId", min_length=1, max_length=35)
    method: str = Field(alias="paymentMethod", pattern="^TRF$")
    day: str = Field(alias="requestedExecutionDate", pattern=r"^\d{4}-\d{2}-\d{2}$")
    identified: _Identified = Field(alias="paymentIdentification")
    priority: str = Field(alias="instructionPriority")
    charges: str = Field(alias="chargeBearer")
    amount: _Amount = Field(alias="instructedAmount")
    debtor_agent: _Named = Field(alias="debitorAgent")
    debtor_account: _DebtorAccount = Field(alias="debtorAccountId")
    creditor: _Creditor
    creditor_agent: _Named = Field(alias="creditorAgent")
    creditor_account: _CreditorAccount = Field(alias="creditorAccountId")
    remittance: str = Field(alias="remittanceInformationUnstructured", max_length=140)


class Sandbox:
    """The bank's calls over `books`, with the faults of `plan`; `app` is the ASGI application."""

    def __init__(self, books: Books, options: SandboxOptions) -> None:
        self.books = books
        self.faults = FaultPlan(options.fault_rate, options.seed)
        self.options = options
        self._hang_up: Callable[[Request], None] = lambda _: None
        self.app = Starlette(
            routes=self._routes(),
            exception_handlers={
                # A caller that dies in its request is what this bank is for, not an error of it.
                ClientDisconnect: _gone,
                HTTPException: _not_found,
            },
        )

    def server(
        self, host: str, port: int, certificate: Path | None = None, key: Path | None = None
    ) -> uvicorn.Server:
        """A server for the sandbox, not yet running; with `certificate` and `key` it speaks TLS."""
        server = uvicorn.Server(
            uvicorn.Config(
                self.app,
                host=host,
                port=port,
                log_level="warning",
                access_log=False,
                lifespan="off",
                ssl_certfile=certificate,
                ssl_keyfile=key,
            )
        )

        def hang_up(request: Request) -> None:
            for connection in list(server.server_state.connections):
                client = getattr(connection, "client", None)
                if request.client is not None and client == tuple(request.client):
                    connection.transport.close()

        self._hang_up = hang_up
        return server

    def _routes(self) -> list[Route]:
        paths = {name: setting.default for name, setting in BankSettings.model_fields.items()}
        return [
            Route(paths["token_path"], self._token, methods=["POST"]),
            Route(paths["initiate_path"], self._initiate, methods=["POST"]),
            Route(paths["status_path"], self._status, methods=["GET"]),
            Route("/sandbox/books", self._show_books, methods=["GET"]),
            Route("/sandbox/books/{id}", self._change_status, methods=["PUT"]),
            Route("/sandbox/faults", self._show_faults, methods=["GET"]),
            Route("/sandbox/faults", self._order_fault, methods=["POST"]),
            Route("/sandbox/faults", self._clear_faults, methods=["DELETE"]),
            Route("/", self._welcome, methods=["GET"]),
        ]

    async def _welcome(self, _: Request) -> Response:
        return _json({"bank": "Paydesk's sandbox bank: no money moves here", "status": "ok"})

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        expected = {
            "grant_type": "client_credentials",
            "client_id": self.options.client_id,
            "client_secret": self.options.client_secret.get_secret_value(),
        }

        def give(_: Fault) -> Response:
            if {name: form.get(name) for name in expected} != expected:
                return _json({"error": "invalid_client"}, 401)
            life_s = self.options.token_life_s
            return _json(
                {
                    "access_token": self.books.new_token(life_s),
                    "token_type": "Bearer",
                    "expires_in": max(1, int(life_s)),
                }
            )

        return await self._faulty("token", request, give)

    async def _initiate(self, request: Request) -> Response:
        body = await request.body()

        def book(fault: Fault) -> Response:
            refusal = self._refusal(request) or _unfit(body) or _unfit_key(request)
            if refusal is not None:
                return refusal
            try:
                answer, replayed = self.books.book(
                    request.headers["Idempotency-Key"],
                    body,
                    first_status=fault.first_status,
                    later_status=fault.later_status,
                    changes_after_s=self.options.settles_after_s,
                )
            except KeyReusedError:
                return _problem(422, "This Idempotency-Key came with another body.")
            return _json(answer, 201 if replayed else 200)

        return await self._faulty("initiate", request, book)

    async def _status(self, request: Request) -> Response:
        def tell(_: Fault) -> Response:
            refusal = self._refusal(request)
            if refusal is not None:
                return refusal
            status = self.books.status(request.path_params["id"])
            if status is None:
                return _problem(404, "There is no such payment in these books.")
            rejected = status == "RJCT"
            report = {
                "transactionStatus": status,
                "statusReasonCode": "AC04" if rejected else None,
                "statusReasonAdditionalInformation": "Closed account" if rejected else None,
            }
            return _json({"paymentInitiationStatusReport": report})

        return await self._faulty("status", request, tell)

    async def _show_books(self, _: Request) -> Response:
        return _json({"bookings": [booking.as_dict() for booking in self.books.bookings()]})

    async def _change_status(self, request: Request) -> Response:
        status = str((await _body(request)).get("status", ""))
        if not self.books.change_status(request.path_params["id"], status):
            return _problem(404, "There is no such payment in these books.")
        return _json({"status": status})

    async def _show_faults(self, _: Request) -> Response:
        known = {fault.name: fault.what for fault in FAULTS.values()}
        return _json({"faults": known, "rate": self.faults.rate})

    async def _order_fault(self, request: Request) -> Response:
        """{"fault": name, "call": "initiate", "times": 1}, or {"rate": 0.5}."""
        try:
            order = _FaultOrder.model_validate(await _body(request))
        except ValidationError as error:
            return _problem(400, _first(error))
        if order.rate is not None:
            self.faults.rate = order.rate
        fault = FAULTS.get(order.fault or "")
        if fault is not None and order.call in fault.calls:
            self.faults.order(fault, order.call, order.times)
        elif order.fault is not None:
            return _problem(
                400, f"The faults of {order.call} are: {', '.join(_names(order.call))}."
            )
        return _json(order.model_dump())

    async def _clear_faults(self, _: Request) -> Response:
        self.faults.clear()
        return _json({"rate": 0.0})

    def _refusal(self, request: Request) -> Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and self.books.knows_token(token):
            return None
        return _problem(401, "The access token is unknown or has expired.")

    async def _faulty(
        self, call: Call, request: Request, work: Callable[[Fault], Response]
    ) -> Response:
        """The answer of `work`, unless a fault strikes before or after it."""
        fault = self.faults.next(call, request.headers.get(FAULT_HEADER)) or _NORMAL
        if not fault.after:
            if fault.effect == "revoke":
                self.books.revoke_tokens()
            struck = await self._strike(fault, request, None)
            return struck or work(fault)
        proper = work(fault)
        if proper.status_code >= 400:
            return proper
        return await self._strike(fault, request, proper) or proper

    async def _strike(
        self, fault: Fault, request: Request, proper: Response | None
    ) -> Response | None:
        """What `fault` answers in place of `proper`; None: nothing else than that."""
        match fault.effect:
            case "delay":
                await asyncio.sleep(fault.delay_s)
            case "problem":
                headers = {"Retry-After": "1"} if fault.status in {429, 503} else {}
                return _problem(fault.status, f"Fault on request: {fault.what}.", headers)
            case "body":
                return _sandbox_response(fault.body, fault.status, "application/json")
            case "half" if proper is not None:
                return _Half(proper, lambda: self._hang_up(request))
            case "drop":
                self._hang_up(request)
                await asyncio.sleep(0)
                return Response()
        return None


class _Half(Response):
    """The first half of an answer, under the length of the whole; then `hang_up`."""

    def __init__(self, proper: Response, hang_up: Callable[[], None]) -> None:
        super().__init__(status_code=proper.status_code)
        self.raw_headers = proper.raw_headers
        self._half = bytes(proper.body)[: len(proper.body) // 2]
        self._hang_up = hang_up

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._half, "more_body": True})
        self._hang_up()
        await asyncio.sleep(0)


def run(
    host: str,
    port: int,
    folder: Path,
    options: SandboxOptions = SandboxOptions(),
    *,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Serves the sandbox until it is stopped; its books are in `folder` and outlive it."""
    folder.mkdir(parents=True, exist_ok=True)
    books = Books(folder / "sandbox.db", options.key_life_s)
    try:
        Sandbox(books, options).server(host, port, certificate, key).run()
    finally:
        books.close()


async def _gone(_: Request, _error: Exception) -> Response:
    return Response(status_code=400)


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (registered for nothing else)
    detail = f"{request.method} {request.url.path} is no call of this bank."
    return _problem(error.status_code, detail, error.headers)


def _unfit(body: bytes) -> Response | None:
    try:
        if len(body) > _BODY_LIMIT:
            raise ValueError("The body is longer than 1 MiB.")
        _Instruction.model_validate(json.loads(body))
    except ValidationError as error:
        return _problem(400, _first(error))
    except ValueError as error:
        return _problem(400, f"The body is not the JSON expected: {error}.")
    return None


def _unfit_key(request: Request) -> Response | None:
    if 1 <= len(request.headers.get("Idempotency-Key", "")) <= 40:
        return None
    return _problem(400, "The Idempotency-Key must have 1 to 40 characters.")


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}."


async def _body(request: Request) -> dict[str, Any]:
    try:
        value = await request.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _names(call: Call) -> list[str]:
    return sorted(fault.name for fault in FAULTS.values() if call in fault.calls)


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return _sandbox_response(
        json.dumps({**content, "sandbox": True}).encode(), status, "application/json"
    )


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    content = {
        "type": "about:blank",
        "title": "Sandbox bank",
        "status": status,
        "detail": detail,
        "instance": f"urn:uuid:{uuid.uuid4()}",
        "sandbox": True,
    }
    response = _sandbox_response(json.dumps(content).encode(), status, "application/problem+json")
    response.headers.update(headers or {})
    return response


def _sandbox_response(content: bytes, status: int, media_type: str) -> Response:
    return Response(content, status, {SANDBOX_HEADER: "true"}, media_type)
