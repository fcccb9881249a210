"""Flask with sklearn-crfsuite: the same tokens, features and CRF, as its documentation has it.

It says what the tags spell, no more: no roles, no normalised values, no confidence.
"""

import os
from typing import Any

from flask import Flask, Response, jsonify, request
from skops.io import get_untrusted_types, load

from paydesk.entities.features import token_features
from paydesk.entities.tagger import join
from paydesk.entities.tokens import tokenize

_path = os.environ["BENCH_NATIVE"]
CRF: Any = load(_path, trusted=get_untrusted_types(file=_path))
app = Flask(__name__)


@app.post("/predict")
def predict() -> Response:
    """The spans of an e-mail."""
    text = request.get_json()["email"]
    tokens = tokenize(text)
    rows = [dict.fromkeys(row, 1.0) for row in token_features(text, tokens)]
    spans = join(CRF.predict_single(rows))
    found = [
        {"label": kind, "text": text[tokens[first].start : tokens[last].end]}
        for first, last, kind in spans
    ]
    return jsonify({"entities": found})
