"""FastAPI with ONNX Runtime, as its documentation has it: typed in and out, no log."""

from fastapi import FastAPI
from forest_onnx import probability
from pydantic import BaseModel
from transaction import answer, features


class Transaction(BaseModel):
    """What comes."""

    tx_id: str = "unknown"
    amount: float
    category: str | None = None
    hour: int = 12


class Decision(BaseModel):
    """What goes."""

    tx_id: str
    fraud_probability: float
    fraud: bool


app = FastAPI()


@app.post("/score")
async def score(tx: Transaction) -> Decision:
    """The forest's answer."""
    body = tx.model_dump()
    return Decision(**answer(body, probability(features(body))))
