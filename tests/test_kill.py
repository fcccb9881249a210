"""kill -9 under load: what a client saw acknowledged is in the log, once and whole.

`PAYDESK_KILL_ROUNDS` sets how often on each database.
"""

import json
import os
import threading
import time
from pathlib import Path

import httpx
import pytest
from conftest import Trained
from service_process import Service
from sqlalchemy import select, text

from paydesk.storage.database import connect
from paydesk.storage.tables import decisions

pytest_plugins = ["payments_fixtures"]

ROUNDS = int(os.environ.get("PAYDESK_KILL_ROUNDS", "2"))


@pytest.mark.timeout(1_800)
def test_what_was_acknowledged_survives_kill_9(
    trained: Trained, tmp_path: Path, database_url: str
) -> None:
    acknowledged: dict[str, float] = {}
    service = Service(trained, tmp_path, {"PAYDESK_DATABASE_URL": database_url}, workers=2)
    for _ in range(ROUNDS):
        service.start()
        service.wait()
        stop = threading.Event()
        clients = [
            threading.Thread(target=_score, args=(service.url, stop, acknowledged, number))
            for number in range(4)
        ]
        for client in clients:
            client.start()
        time.sleep(1.5)
        service.kill()
        stop.set()
        for client in clients:
            client.join()
    engine = connect(database_url)
    with engine.connect() as connection:
        kept = connection.execute(select(decisions)).all()
        totals = connection.execute(text("SELECT sum(decisions) FROM decision_totals")).scalar()
    engine.dispose()
    amounts = {row.decision_id: float(row.amount) for row in kept}
    print(f"{ROUNDS} kills: {len(acknowledged)} acknowledged, {len(kept)} in the log")  # noqa: T201
    assert len(acknowledged) > 20 * ROUNDS
    assert {key: amounts.get(key) for key in acknowledged} == acknowledged  # all, and none torn
    assert len(kept) == len(amounts) == totals
    assert all(isinstance(json.loads(row.triggered_rules), list) for row in kept)


def _score(url: str, stop: threading.Event, acknowledged: dict[str, float], number: int) -> None:
    amount = float(number)
    with httpx.Client(base_url=url) as client:
        while not stop.is_set():
            amount += 4
            try:
                answer = client.post("/score", json={"amount": amount})
            except httpx.TransportError:
                return
            if answer.status_code == 200:
                acknowledged[answer.json()["decision_id"]] = amount
