"""Flask with scikit-learn, for gunicorn."""

from flask import Flask, Response, jsonify, request
from forest_sklearn import probability
from transaction import answer, features

app = Flask(__name__)


@app.post("/score")
def score() -> Response:
    """The forest's answer."""
    body = request.get_json()
    return jsonify(answer(body, probability(features(body))))
