"""A payment server that can be killed: the office behind one HTTP route, and nothing else.

Run as `python payments_server.py PORT DATABASE_URL BANK_URL`.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from payments_bank import QUICK
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from paydesk.payments.bank import BankClient
from paydesk.payments.errors import (
    BankUnavailableError,
    PaymentInProgressError,
    PaymentRejectedError,
    PaymentUnknownError,
)
from paydesk.payments.office import PaymentOffice
from paydesk.payments.payment import Payment
from paydesk.payments.sandbox import sandbox_settings
from paydesk.storage.database import DatabaseUnavailableError, open_database

_STATUS: dict[type[Exception], int] = {
    PaymentRejectedError: 422,
    PaymentInProgressError: 409,
    PaymentUnknownError: 504,
    BankUnavailableError: 503,
    DatabaseUnavailableError: 503,
}


def main(port: str, database: str, bank_url: str) -> None:
    bank = sandbox_settings(bank_url, **QUICK)
    client = BankClient(bank, breaker_failures=10, breaker_recovery_s=0.5)
    office = PaymentOffice(open_database(database), bank, reconcile_every_s=1.0, client=client)

    async def pay(request: Request) -> JSONResponse:
        payment = Payment.model_validate_json(await request.body())
        key, request_id = request.headers["Idempotency-Key"], request.headers["X-Request-ID"]
        try:
            outcome = await run_in_threadpool(office.pay, payment, key, request_id)
        except tuple(_STATUS) as error:
            return JSONResponse({"error": str(error)}, _STATUS[type(error)])
        return JSONResponse({"payment_id": outcome.payment.payment_id})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        office.start()
        yield
        office.close()

    app = Starlette(routes=[Route("/payment", pay, methods=["POST"])], lifespan=lifespan)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
