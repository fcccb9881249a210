"""The HTTP contract as a table: every path and method, who may use it, what goes in and out."""

from functools import cache
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from paydesk.entities.schema import Reading
from paydesk.payments.payment import PaymentPage, PaymentRecord
from paydesk.risk.transaction import Decision, ScoredTransaction
from paydesk.storage.jobs import Kind
from paydesk.storage.stream_scorers import ScorerReport
from paydesk.web import answers, handlers
from paydesk.web.answers import Email
from paydesk.web.application import Application
from paydesk.web.bulk import BULK_LIMIT, SILENCE_S
from paydesk.web.docs_page import docs_page
from paydesk.web.gate import Need
from paydesk.web.holding import PaymentOrder
from paydesk.web.mail_text import Message
from paydesk.web.openapi import document
from paydesk.web.operation import JSON, TEXT, Answer, Handler, Operation
from paydesk.web.pages import TYPES
from paydesk.web.queries import Name, PaymentQuery, Which, WhichPage, Window
from paydesk.web.review import PaymentForm, Review
from paydesk.web.row_forms import ARROW, CSV, JSON_LINES
from paydesk.web.streamed import SLOWEST


async def openapi(_request: Request, _application: Application) -> Response:
    """The OpenAPI document."""
    return Response(_document(), media_type=JSON)


async def docs(_request: Request, _application: Application) -> Response:
    """The OpenAPI document as a page."""
    return handlers.page(_docs())


@cache
def _document() -> bytes:
    return orjson.dumps(document(CONTRACT))


@cache
def _docs() -> str:
    return docs_page(document(CONTRACT))


_DECISION: dict[str, Any] = {
    "tx_id": "TX003",
    "score": 7,
    "risk_level": "CRITICAL",
    "triggered_rules": ["R1: amount > 3000", "R2: electronics > 1500", "R3: night hour"],
    "fraud": True,
    "fraud_probability": 0.97,
    "reasons": ["The amount 4500.00 is above 3000."],
    "model": "risk:1",
    "decision_id": "01990a6e-7c1e-7b0a-9d5e-2f6c8a1b3c4d",
}
_LOGGED: dict[str, Any] = {
    **_DECISION,
    "status": "found",
    "recorded_at": "2026-03-01T03:00:00.000000+00:00",
    "amount": "4500.0",
    "category": "electronics",
    "hour": 3,
    "store": None,
    "customer_id": None,
}
_PAYMENT: dict[str, Any] = {
    "payment_id": "01990a6e-7c1e-7b0a-9d5e-2f6c8a1b3c4e",
    "state": "accepted",
    "bank_reference": "PR-1",
    "bank_status": "PDNG",
    "amount": "1250.00",
    "currency": "EUR",
    "accountA": "Northwind Traders Ltd",
    "accountB": "Contoso GmbH",
    "creditorAccount": "****5432",
    "debtorAccount": "****3000",
    "sandbox": True,
    "created_at": "2026-03-01T10:00:00Z",
    "updated_at": "2026-03-01T10:00:01Z",
    "bank": {"paymentRequestId": "PR-1", "transactionStatus": "PDNG"},
    "note": None,
    "history": [],
}
_REPLAYED = "`true` where this is the stored answer of an earlier request."
_PAYMENT_ERRORS = {
    403: "The payment is held: its risk, in `decision`, needs a person's word. Nothing was sent; "
    "the same request with `override` goes. Or the caller may not pay.",
    409: "`payment` is the same one: it is being sent, or was made before. Or `alike` was made "
    "since a person reviewed this one: nothing was sent.",
    422: "The bank refused `payment`, and no money moved; or the Idempotency-Key belongs to "
    "`payment`, another one; or the override does not fit.",
    503: "This request sent nothing: the bank, the database or a thread is not to be had just now, "
    "or settings are missing. Repeat it unchanged.",
    504: "The payment may be booked. Look it up, or repeat the request under the same "
    "Idempotency-Key; never under a new one.",
}
_SURE = {"amount": 0.98, "currency": 0.99, "accountA": 0.95, "accountB": 0.93}
_READING: dict[str, Any] = {
    "amount": "1250.00",
    "currency": "EUR",
    "accountA": "Northwind Traders Ltd",
    "accountB": "Contoso GmbH",
    "entities": [
        {"label": "CURRENCY", "text": "EUR", "start": 51, "end": 54, "confidence": 0.99},
    ],
    "confidence": _SURE,
    "alternatives": [],
    "notes": [],
}
_STATS: dict[str, Any] = {
    "total": 3,
    "high": 1,
    "by_level": {"LOW": 1, "MEDIUM": 1, "HIGH": 0, "CRITICAL": 1},
}
_COUNTS: dict[str, Any] = {
    "step_s": 1800,
    "over_time": [{"at": "2026-03-01T03:00:00+00:00", **_STATS["by_level"]}],
    "by_probability": [{"probability": 0.95, **_STATS["by_level"]}],
}
_SCORER: dict[str, Any] = {**ScorerReport.model_json_schema()["example"], "heard_s_ago": 1.2}
_REVIEW: dict[str, Any] = {
    "amount": "1250.00",
    "currency": "EUR",
    "accountA": "Northwind Traders Ltd",
    "accountB": "Contoso GmbH",
    "creditorAccount": "****5432",
    "debtorAccount": "****3000",
    "remittance": None,
    "executionDate": "2026-03-01",
    "sandbox": True,
    "score": 0,
    "risk_level": "LOW",
    "triggered_rules": [],
    "reasons": [],
    "fraud_probability": 0.02,
    "model": "risk:1",
    "held": False,
    "alike": None,
}
_VERSIONS = {"risk": "1", "entities": "1"}
_STATUS = {"status": "ok", "version": "0.1.0", "models": _VERSIONS}
_PROBE = (503, 504)

_BULK = (JSON_LINES, f"{CSV}; charset=utf-8", ARROW)
_BULK_ERRORS = {
    400: "The heading or schema lacks a column, or cannot be read; no row was worked on.",
    408: f"Nothing of the body came for {SILENCE_S:.0f} s, or less than {SLOWEST:,} bytes/s.",
    413: f"The body is longer than {BULK_LIMIT:,} bytes, as it is sent.",
    415: "The body is no form of rows, or packed otherwise than with gzip or zstd.",
}

_JOB: dict[str, Any] = {
    "job_id": "01990a6e-7c1e-7b0a-9d5e-2f6c8a1b3c4f",
    "state": "running",
    "rows": 61_000,
    "refused": 2,
    "bytes_read": 4_587_520,
    "bytes_total": 12_031_744,
    "created_at": "2026-03-01T10:00:00.000+00:00",
    "started_at": "2026-03-01T10:00:00.120+00:00",
    "ended_at": None,
    "expires_at": None,
    "error": None,
}


class _JobHandlers(NamedTuple):
    submit: Handler
    look: Handler
    remove: Handler
    fetch: Handler


_JOB_ERRORS = {
    **_BULK_ERRORS,
    422: "The Idempotency-Key belongs to a job with another body.",
}


def _jobs(
    kind: Kind, need: Need, rows: type[BaseModel], what: str, does: _JobHandlers
) -> dict[str, dict[str, Operation]]:
    one, result = f"/{kind}/jobs/{{job_id}}", f"/{kind}/jobs/{{job_id}}/result"
    return {
        f"/{kind}/jobs": {
            "POST": Operation(
                does.submit,
                need,
                f"{what} many, for as long as it takes: a job is made of them.",
                Answer(
                    "The job is on disk.",
                    answers.JobState,
                    example={**_JOB, "state": "queued", "rows": 0, "refused": 0, "bytes_read": 0},
                    headers={"Location": "Where the job is.", "Idempotency-Replayed": _REPLAYED},
                ),
                rows=rows,
                status=202,
                errors=(422, 503, 504, 507),
                headers={
                    "Idempotency-Key": "1 to 255 printable ASCII characters; the same body under "
                    "the same key is one job, however often it comes, as long as there is that job."
                },
                says=_JOB_ERRORS,
                leads_to={"job": (one, "job_id")},
            )
        },
        one: {
            "GET": Operation(
                does.look,
                need,
                "How far a job is.",
                Answer("The job.", answers.JobState, example=_JOB),
                errors=(404, 503, 504),
            ),
            "DELETE": Operation(
                does.remove,
                need,
                "End a job, and remove it with its result; what was logged stays.",
                Answer("It is gone.", media=()),
                status=204,
                errors=(404, 503, 504),
            ),
        },
        result: {
            "GET": Operation(
                does.fetch,
                need,
                "What the bulk route would have answered, in the form that was accepted then.",
                Answer("A row for each row, in order.", media=_BULK),
                errors=(404, 409, 421, 503, 504),
                says={409: "The job is not done yet."},
                error_headers={409: {"Retry-After": "Seconds."}},
            )
        },
    }


_HTML = "text/html; charset=utf-8"

CONTRACT: dict[str, dict[str, Operation]] = {
    "/score": {
        "POST": Operation(
            handlers.score,
            "score",
            "Decide about a transaction; it is on disk before this answers.",
            Answer(
                "The decision, made for this request or for an earlier one.",
                Decision,
                example=_DECISION,
                headers={"Idempotency-Replayed": _REPLAYED},
            ),
            body=ScoredTransaction,
            errors=(422, 503),
            headers={
                "Idempotency-Key": "1 to 255 printable ASCII characters; the same transaction "
                "under the same key is decided once, however often it comes."
            },
            says={422: "The Idempotency-Key belongs to another transaction."},
            leads_to={"transaction": ("/transaction/{tx_id}", "tx_id")},
        )
    },
    "/score/bulk": {
        "POST": Operation(
            handlers.score_bulk,
            "score",
            "Decide about many transactions; each is on disk before its row is answered.",
            Answer("A row for each row, in order: its decision, or what is wrong.", media=_BULK),
            rows=ScoredTransaction,
            errors=(503, 504),
            says=_BULK_ERRORS,
        )
    },
    **_jobs(
        "score",
        "score",
        ScoredTransaction,
        "Decide about",
        _JobHandlers(
            handlers.score_jobs,
            handlers.score_job,
            handlers.remove_score_job,
            handlers.score_job_result,
        ),
    ),
    "/transaction/{tx_id}": {
        "GET": Operation(
            handlers.transaction,
            "score",
            "The last decision about a transaction.",
            Answer("The decision.", answers.LoggedDecision, example=_LOGGED),
            errors=(404, 503, 504),
        )
    },
    "/decisions": {
        "GET": Operation(
            handlers.decisions,
            "score",
            "Decisions, newest first, a page at a time.",
            Answer(
                "A page.",
                answers.DecisionPage,
                example={"decisions": [_LOGGED], "next_cursor": "1772334000000000.41"},
            ),
            query=WhichPage,
            errors=(503, 504),
        )
    },
    "/decisions.csv": {
        "GET": Operation(
            handlers.decisions_csv,
            "score",
            "All decisions, newest first, as a CSV file of any length.",
            Answer("The file, with a line of headings.", media=("text/csv; charset=utf-8",)),
            query=Which,
            errors=(503, 504),
        )
    },
    "/decisions/counts": {
        "GET": Operation(
            handlers.decision_counts,
            "score",
            "Decisions counted by level, over time and by fraud probability.",
            Answer("Every step of the window.", answers.Counts, example=_COUNTS),
            query=Window,
            errors=(503, 504),
        )
    },
    "/stats": {
        "GET": Operation(
            handlers.stats,
            "score",
            "Decisions since the log began, over all workers.",
            Answer("Totals.", answers.Stats, example=_STATS),
            errors=(503, 504),
        )
    },
    "/stream/scorers": {
        "GET": Operation(
            handlers.stream_scorers,
            "score",
            "Those that scored a stream in the last day, whatever process they are.",
            Answer("The scorers.", answers.StreamScorers, example={"scorers": [_SCORER]}),
            errors=(503, 504),
        ),
        "POST": Operation(
            handlers.report_scorer,
            "score",
            "What a scorer of a stream, which has no database, says of itself.",
            Answer("It is kept in place of the last report.", media=()),
            body=ScorerReport,
            status=204,
            errors=(503, 504),
        ),
    },
    "/predict": {
        "POST": Operation(
            handlers.predict,
            "read",
            "Read a payment form from an e-mail.",
            Answer("The form, the spans, and how sure each field is.", Reading, example=_READING),
            body=Email,
            errors=(503, 504),
        )
    },
    "/predict/bulk": {
        "POST": Operation(
            handlers.predict_bulk,
            "read",
            "Read payment forms from many e-mails.",
            Answer("A row for each row, in order: its form, or what is wrong.", media=_BULK),
            rows=Email,
            errors=(503, 504),
            says=_BULK_ERRORS,
        )
    },
    **_jobs(
        "predict",
        "read",
        Email,
        "Read payment forms from",
        _JobHandlers(
            handlers.predict_jobs,
            handlers.predict_job,
            handlers.remove_predict_job,
            handlers.predict_job_result,
        ),
    ),
    "/mail": {
        "POST": Operation(
            handlers.mail,
            "read",
            "The text of a message as it travels, for /predict.",
            Answer(
                "Its subject and body.",
                answers.MailText,
                example={
                    "text": "Subject: Invoice 2231\n\nPlease pay 1,250.00 EUR to Northwind Ltd.",
                    "quoted_characters": 0,
                },
            ),
            body=Message,
            errors=(503, 504),
        )
    },
    "/review": {
        "POST": Operation(
            handlers.review,
            "pay",
            "What /payment would make of this form; nothing is written, nothing sent.",
            Answer("What would be sent, and its risk.", Review, example=_REVIEW),
            body=PaymentForm,
            errors=(503, 504),
        )
    },
    "/payment": {
        "POST": Operation(
            handlers.payment,
            "pay",
            "Send a payment that a person confirmed to the bank, once.",
            Answer(
                "The bank has the payment, by this request or by an earlier one.",
                PaymentRecord,
                example=_PAYMENT,
                headers={"Idempotency-Replayed": _REPLAYED},
            ),
            body=PaymentOrder,
            status=201,
            errors=(409, 422, 503, 504),
            headers={
                "Idempotency-Key": "1 to 255 printable ASCII characters; the same payment under "
                "the same key is sent once, however often it comes."
            },
            problem=answers.PaymentProblem,
            says=_PAYMENT_ERRORS,
            error_headers={
                409: {"Retry-After": "Seconds, where it is being sent at this moment."},
                422: {"Idempotency-Replayed": _REPLAYED},
                504: {"Retry-After": "Seconds, after which more may be known."},
            },
            leads_to={"payment": ("/payment/{payment_id}", "payment_id")},
        )
    },
    "/payment/{payment_id}": {
        "GET": Operation(
            handlers.one_payment,
            "pay",
            "A payment with its history.",
            Answer("The payment.", PaymentRecord, example=_PAYMENT),
            errors=(404, 503, 504),
        )
    },
    "/payments": {
        "GET": Operation(
            handlers.payments,
            "pay",
            "Payments, newest first, a page at a time.",
            Answer("A page.", PaymentPage, example={"payments": [_PAYMENT], "next_cursor": None}),
            query=PaymentQuery,
            errors=(503, 504),
        )
    },
    "/health": {
        "GET": Operation(
            handlers.health,
            "open",
            "Whether the service works, and with which models.",
            Answer("It works.", answers.Health, example={**_STATUS, "sandbox": True}),
            errors=_PROBE,
        )
    },
    "/status": {
        "GET": Operation(
            handlers.status,
            "any",
            "What this service is, and the bank behind it.",
            Answer(
                "Versions and bank.",
                answers.Status,
                example={**_STATUS, "service": "monitoring", "bank": "sandbox"},
            ),
        )
    },
    "/livez": {
        "GET": Operation(
            handlers.live,
            "open",
            "Whether the process answers.",
            Answer("It does.", media=(TEXT,), example="live"),
        )
    },
    "/readyz": {
        "GET": Operation(
            handlers.ready,
            "open",
            "Whether the process can decide.",
            Answer("It can.", media=(TEXT,), example="ready"),
            errors=_PROBE,
        )
    },
    "/metrics": {
        "GET": Operation(
            handlers.measured,
            "any",
            "Metrics for Prometheus, over all workers of this server.",
            Answer("Prometheus' text format.", media=("text/plain; version=0.0.4",)),
            errors=_PROBE,
        )
    },
    "/echo": {
        "POST": Operation(
            handlers.echo,
            "any",
            "Send back what came, to try a connection.",
            Answer(
                "What was received.", answers.Echo, example={"received": {"a": 1}, "field_count": 1}
            ),
            any_object=True,
        )
    },
    "/hello": {
        "GET": Operation(
            handlers.hello,
            "open",
            "A greeting.",
            Answer("It.", media=(TEXT,), example="Hello, Anna!"),
            query=Name,
        )
    },
    "/": {
        "GET": Operation(
            handlers.welcome,
            "open",
            "The welcome; a browser gets a page.",
            Answer("It.", media=(TEXT, _HTML), example=handlers.WELCOME),
        )
    },
    "/desk/{file}": {
        "GET": Operation(
            handlers.page_file,
            "open",
            "A file that the pages load.",
            Answer("It, with an ETag.", media=tuple(TYPES.values())),
            errors=(404,),
        )
    },
    "/openapi.json": {"GET": Operation(openapi, "open", "This document.", Answer("OpenAPI 3.1."))},
    "/docs": {
        "GET": Operation(docs, "open", "This document as a page.", Answer("HTML.", media=(_HTML,)))
    },
    "/schema.json": {
        "GET": Operation(
            handlers.bentoml_schema,
            "any",
            "What BentoML's own clients read.",
            Answer("BentoML's schema of the service."),
        )
    },
}
