"""Starlette with ONNX Runtime: no rules, no log."""

import orjson
from forest_onnx import probability
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from transaction import answer, features


async def score(request: Request) -> Response:
    """The forest's answer."""
    body = orjson.loads(await request.body())
    found = answer(body, probability(features(body)))
    return Response(orjson.dumps(found), media_type="application/json")


app = Starlette(routes=[Route("/score", score, methods=["POST"])])
