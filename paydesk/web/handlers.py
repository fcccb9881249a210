"""What is done for each operation: a request in, the application asked, an answer out."""

import json
from typing import Any, cast

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp

from paydesk.payments.errors import IdempotencyKeyInvalidError
from paydesk.payments.office import is_key
from paydesk.risk.transaction import ScoredTransaction
from paydesk.storage.jobs import Kind
from paydesk.storage.stream_scorers import ScorerReport
from paydesk.web import metrics, pages
from paydesk.web.answers import Email, StreamScorers
from paydesk.web.application import Application
from paydesk.web.bodies import read_json, read_model
from paydesk.web.errors import BadRequestError, problem
from paydesk.web.exchange import exchange_of
from paydesk.web.holding import PaymentOrder
from paydesk.web.jobs import shown
from paydesk.web.mail_text import Message
from paydesk.web.queries import Name, PaymentQuery, Which, WhichPage, Window, query_of
from paydesk.web.review import PaymentForm
from paydesk.web.row_forms import Rows, media_type, wanted
from paydesk.web.streamed import Streamed, after

BENTOML = "paydesk.bentoml"  # Where the scope has BentoML's own application.
WELCOME = "Welcome to the transaction monitoring system!"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)


async def score(request: Request, application: Application) -> Response:
    """A transaction in, the decision about it out, once it is on disk."""
    key = _idempotency_key(request)
    transaction = await read_model(request, ScoredTransaction)
    if key is None:
        return _model(await application.score(transaction))
    if not is_key(key):
        raise IdempotencyKeyInvalidError(len(key))
    decision, replayed = await application.score_once(transaction, key)
    return _model(decision, headers={"Idempotency-Replayed": "true"} if replayed else None)


async def score_bulk(request: Request, application: Application) -> Response:
    """Transactions in, the decisions about them out, each once it is on disk."""
    return await _bulk(request, application, "score")


async def predict_bulk(request: Request, application: Application) -> Response:
    """E-mails in, payment forms out."""
    return await _bulk(request, application, "predict")


async def score_jobs(request: Request, application: Application) -> Response:
    """Transactions in, a job out that decides about them."""
    return await _submitted(request, application, "score")


async def predict_jobs(request: Request, application: Application) -> Response:
    """E-mails in, a job out that reads them."""
    return await _submitted(request, application, "predict")


async def score_job(request: Request, application: Application) -> Response:
    """How far a job of transactions is."""
    return await _job(request, application, "score")


async def predict_job(request: Request, application: Application) -> Response:
    """How far a job of e-mails is."""
    return await _job(request, application, "predict")


async def score_job_result(request: Request, application: Application) -> Response:
    """The decisions of a job."""
    return await _result(request, application, "score")


async def predict_job_result(request: Request, application: Application) -> Response:
    """The payment forms of a job."""
    return await _result(request, application, "predict")


async def remove_score_job(request: Request, application: Application) -> Response:
    """Ends a job of transactions, and removes it."""
    return await _removed(request, application, "score")


async def remove_predict_job(request: Request, application: Application) -> Response:
    """Ends a job of e-mails, and removes it."""
    return await _removed(request, application, "predict")


async def stream_scorers(_request: Request, application: Application) -> Response:
    """Those that score a stream."""
    return _model(StreamScorers(scorers=await application.stream_scorers()))


async def report_scorer(request: Request, application: Application) -> Response:
    """A scorer's report in."""
    await application.report_scorer(await read_model(request, ScorerReport))
    return Response(status_code=204)


async def predict(request: Request, application: Application) -> Response:
    """An e-mail in, the payment form out."""
    return _model(await application.predict(await read_model(request, Email)))


async def mail(request: Request, application: Application) -> Response:
    """A message in, its text out."""
    return _json(await application.mail_text(await read_model(request, Message)))


async def review(request: Request, application: Application) -> Response:
    """A form in, out what /payment would make of it."""
    return _model(await application.review(await read_model(request, PaymentForm, exact=True)))


async def payment(request: Request, application: Application) -> Response:
    """A confirmed form in, the payment out."""
    client_key = _idempotency_key(request)
    order = await read_model(request, PaymentOrder, exact=True)
    outcome = await application.pay(order, client_key, exchange_of(request).request_id)
    headers = {"Idempotency-Replayed": "true"} if outcome.replayed else None
    return _model(outcome.payment, 201, headers)


async def one_payment(request: Request, application: Application) -> Response:
    """A payment with its history."""
    return _model(await application.payment(request.path_params["payment_id"]))


async def payments(request: Request, application: Application) -> Response:
    """A page of payments."""
    query = query_of(request, PaymentQuery)
    return _model(await application.payments(query.cursor, query.limit, query.state))


async def transaction(request: Request, application: Application) -> Response:
    """The last decision about a transaction."""
    tx_id = request.path_params["tx_id"]
    found = await application.transaction(tx_id)
    if found is not None:
        return _json(found)
    return problem(
        404,
        f"Transaction {tx_id[:200]!r} was never scored here.",
        instance=request.url.path,
        request_id=exchange_of(request).request_id,
        tx_id=tx_id,
        status="not found",
    )


async def decisions(request: Request, application: Application) -> Response:
    """A page of decisions."""
    query = query_of(request, WhichPage)
    return _json(await application.decisions(query.filter, query.before, query.limit))


async def decisions_csv(request: Request, application: Application) -> Response:
    """All decisions, as a file."""
    lines = application.export(query_of(request, Which).filter)
    # Its first part is made before the answer begins: what fails until then is still a problem.
    first = await anext(lines)
    headers = {"Content-Disposition": 'attachment; filename="decisions.csv"'}
    headers["Content-Type"] = "text/csv; charset=utf-8"
    return Streamed(after(first, lines), headers)


async def stats(_request: Request, application: Application) -> Response:
    """Totals."""
    return _json(await application.stats())


async def decision_counts(request: Request, application: Application) -> Response:
    """What charts are drawn from."""
    return _json(await application.counts(query_of(request, Window).window))


async def health(_request: Request, application: Application) -> Response:
    """Whether it works."""
    return _json(await application.health())


async def status(_request: Request, application: Application) -> Response:
    """What this service is."""
    return _json(application.status())


async def echo(request: Request, _application: Application) -> Response:
    """What was received."""
    received = await read_json(request)
    return _json({"received": received, "field_count": len(received)})


async def hello(request: Request, _application: Application) -> Response:
    """A greeting."""
    return PlainTextResponse(f"Hello, {query_of(request, Name).name or 'stranger'}!")


async def welcome(request: Request, _application: Application) -> Response:
    """The welcome, as a page where a browser asks."""
    if "text/html" in request.headers.get("accept", ""):
        return page(pages.DESK)
    return PlainTextResponse(WELCOME)


async def page_file(request: Request, _application: Application) -> Response:
    """A file that the pages load."""
    found = pages.FILES.get(request.path_params["file"])
    if found is None:
        return problem(
            404,
            "The pages have no such file. GET / is the desk.",
            instance=request.url.path,
            request_id=exchange_of(request).request_id,
        )
    return found.answer(request.headers)


async def live(_request: Request, _application: Application) -> Response:
    """This process answers."""
    return PlainTextResponse("live")


async def ready(_request: Request, application: Application) -> Response:
    """This process can decide: its models are loaded and its database answers."""
    await application.health()
    return PlainTextResponse("ready")


async def bentoml_schema(request: Request, _application: Application) -> ASGIApp:
    """BentoML answers this itself."""
    bentoml: ASGIApp = request.scope[BENTOML]
    return bentoml


async def measured(_request: Request, application: Application) -> Response:
    """Prometheus' page."""
    content = await application.measured()
    return Response(content, headers={"Content-Type": metrics.CONTENT_TYPE})


def page(html: str) -> Response:
    """An HTML page, which may load our own files and nothing else, and runs no code in itself."""
    return HTMLResponse(html, headers={"Content-Security-Policy": PAGE_POLICY})


async def _bulk(request: Request, application: Application, kind: Kind) -> Response:
    asked = wanted(request)
    parts = application.bulk(kind, request, asked)
    # As with the export: what fails until the first part is a problem still.
    first = await anext(parts)
    return Streamed(after(first, parts), {"Content-Type": media_type(asked.answer)})


async def _submitted(request: Request, application: Application, kind: Kind) -> Response:
    key = _idempotency_key(request)
    if key is not None:
        if not is_key(key):
            raise IdempotencyKeyInvalidError(len(key))
        # Another caller's key of the same text is another.
        key = f"{kind} {exchange_of(request).key_id or ''} {key}"
    job, new = await application.jobs.submit(request, kind, wanted(request), key)
    headers = {"Location": f"/{kind}/jobs/{job.job_id}"}
    if not new:
        headers["Idempotency-Replayed"] = "true"
    return _model(shown(job), 202, headers)


async def _job(request: Request, application: Application, kind: Kind) -> Response:
    return _model(shown(await application.jobs.find(kind, request.path_params["job_id"])))


async def _result(request: Request, application: Application, kind: Kind) -> Response:
    job, result = await application.jobs.result(kind, request.path_params["job_id"])
    headers = {
        "Content-Type": media_type(cast(Rows, job.answer)),
        "Content-Length": str(job.result_bytes),
    }
    if request.method == "HEAD":
        result.close()
        return Response(headers=headers)
    return Streamed(application.jobs.parts(result, job.result_bytes), headers)


async def _removed(request: Request, application: Application, kind: Kind) -> Response:
    await application.jobs.remove(kind, request.path_params["job_id"])
    return Response(status_code=204)


def _json(body: Any) -> Response:
    try:
        content = orjson.dumps(body)
    except TypeError:  # A whole number past 64 bits, echoed with all its digits.
        content = json.dumps(body, separators=(",", ":")).encode()
    return Response(content, media_type="application/json")


def _idempotency_key(request: Request) -> str | None:
    keys = request.headers.getlist("idempotency-key")
    if len(keys) > 1:
        # Which of them counts is a guess, and another guess pays twice.
        message = "There are several Idempotency-Key headers; send one."
        raise BadRequestError(message)
    return keys[0] if keys else None


def _model(body: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status, headers, "application/json")
