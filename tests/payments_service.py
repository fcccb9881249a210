"""The service's own routes over an office: the real application, with a forest of a few leaves.

Everything that depends on how the application is put together is in `routes`. As a program it is a
server that can be killed: `python payments_service.py PORT DATABASE_URL BANK_URL FOREST`.
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from unittest.mock import patch

import httpx
import numpy as np
import uvicorn
from payments_bank import QUICK
from sqlalchemy import Engine
from starlette.types import ASGIApp

from paydesk.entities.reader import Reader
from paydesk.payments.bank import BankClient
from paydesk.payments.office import PaymentOffice
from paydesk.payments.sandbox import sandbox_settings
from paydesk.risk.features import Encoder
from paydesk.risk.forest import GRAPH, Forest, Thresholds
from paydesk.risk.rules import SHIPPED, RuleBook
from paydesk.risk.scorer import Scorer
from paydesk.settings import BankSettings, Settings
from paydesk.storage.database import now_us, open_database
from paydesk.web import logs
from paydesk.web.application import Application
from paydesk.web.gate import KeylessGate
from paydesk.web.logs import RequestLog
from paydesk.web.metrics import Metrics
from paydesk.web.routes import Http

_ENCODER = Encoder(("transfer",), (100.0, 100.0))


def write_forest(folder: Path) -> Path:
    """A forest that never raises a level: what is held is held by the shipped rules alone."""
    # They take seconds to load, and a server that is killed and started again needs neither.
    from skl2onnx import convert_sklearn  # noqa: PLC0415
    from skl2onnx.common.data_types import FloatTensorType  # noqa: PLC0415
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    features = np.array([[1.0, 1.0, hour, 1.0] for hour in range(10)], dtype=np.float32)
    native = RandomForestClassifier(n_estimators=1, random_state=1)
    native.fit(features, [0, 1] * 5)
    graph = convert_sklearn(
        native,
        initial_types=[("features", FloatTensorType([None, 4]))],
        options={id(native): {"zipmap": False}},
        target_opset=17,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / GRAPH).write_bytes(graph.SerializeToString())
    return folder


@contextmanager
def routes(
    engine: Engine, office: PaymentOffice, bank: BankSettings, forest: Path, **settings: object
) -> Iterator[ASGIApp]:
    """The service's routes, open to anyone; nothing behind /predict."""
    scorer = Scorer(
        Forest(forest / GRAPH, _ENCODER, Thresholds(2.0, 2.0, 2.0)), RuleBook.read(SHIPPED), "test"
    )
    whole = Settings(**settings)  # type: ignore[arg-type]
    whole.__dict__["bank"] = bank
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ):
        application = Application(
            scorer,
            cast(Reader, None),
            engine,
            office,
            Metrics(Path(folder), {}),
            settings=whole,
            models={},
        )
        log = RequestLog()
        http = Http()
        http.bind(application, KeylessGate(local_only=False, origins=()), log, whole)
        yield http
        application.close()
        log.close()


@contextmanager
def serving(app: ASGIApp) -> Iterator[httpx.Client]:
    """A client of `app` on a real socket."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="critical", access_log=False, lifespan="off")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline, "the service did not start"
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        everyone = httpx.Limits(max_connections=None)
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", timeout=30, limits=everyone
        ) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@dataclass(frozen=True)
class PaymentService:
    """A service that is reached over HTTP alone, and the office in it."""

    client: httpx.Client
    office: PaymentOffice

    def pay(self, key: str | None = None, **body: object) -> httpx.Response:
        """100.00 EUR from Bob to Alice, or what `body` makes of it."""
        whole = {"accountA": "Alice", "accountB": "Bob", "amount": "100.00", **body}
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.client.post("/payment", json=whole, headers=headers)


@contextmanager
def payment_service(
    engine: Engine,
    bank: BankSettings,
    forest: Path,
    *,
    client: BankClient | None = None,
    clock: Callable[[], int] = now_us,
    **settings: object,
) -> Iterator[PaymentService]:
    """A service on a real socket, which reconciles only when its office is told to."""
    office = PaymentOffice(engine, bank, client=client, clock=clock)
    with routes(engine, office, bank, forest, **settings) as app, serving(app) as http:
        yield PaymentService(http, office)


def main(port: str, database: str, bank_url: str, forest: str) -> None:
    """Serves until it is killed, and reconciles every second."""
    logs.configure(RequestLog())
    bank = sandbox_settings(bank_url, **QUICK)
    client = BankClient(bank, breaker_failures=10, breaker_recovery_s=0.5)
    engine = open_database(database)
    office = PaymentOffice(engine, bank, reconcile_every_s=1.0, client=client)
    office.start()
    with routes(engine, office, bank, Path(forest)) as app:
        uvicorn.run(
            app,
            host="127.0.0.1",
            port=int(port),
            log_level="critical",
            access_log=False,
            lifespan="off",
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
