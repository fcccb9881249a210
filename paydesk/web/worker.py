"""One worker of the service: everything opened in order, and closed in the opposite one."""

import ctypes
import gc
from pathlib import Path

import bentoml
from sqlalchemy import Engine

from paydesk import serving_form
from paydesk.errors import PaydeskError
from paydesk.risk.rules import SHIPPED, RuleBook
from paydesk.settings import Settings
from paydesk.storage.api_keys import ApiKeys
from paydesk.storage.database import open_database
from paydesk.web import logs
from paydesk.web.application import Application, version_of
from paydesk.web.gate import Gate, KeyGate, KeylessGate
from paydesk.web.keyring import Keyring
from paydesk.web.logs import RequestLog
from paydesk.web.metrics import Metrics, server_folder
from paydesk.web.routes import Http


class NoKeyError(PaydeskError):
    """The service would start with keys required and none made."""


def check(settings: Settings) -> None:
    """Brings the database up to date, and says in one sentence what keeps the service from serving.

    Runs once, before the workers. Raises DatabaseUnavailableError, SchemaError, RulesError or
    NoKeyError.
    """
    RuleBook.read(settings.rules_file or SHIPPED)
    engine = open_database(settings.database, may_migrate=settings.migration == "at_start")
    try:
        if settings.access == "keys" and not ApiKeys(engine).in_force():
            message = (
                "Paydesk does not start without an API key: make one with `paydesk keys new "
                "NAME --scope score`, or say PAYDESK_ACCESS=anyone if whoever reaches the port may "
                "score, read and pay."
            )
            raise NoKeyError(message)
    finally:
        engine.dispose()


class Worker:
    """What a worker opens: logs, metrics, database, models, keys; then the routes answer."""

    def __init__(
        self, http: Http, settings: Settings, risk: bentoml.Model, entities: bentoml.Model
    ) -> None:
        self._log = RequestLog()
        logs.configure(self._log)
        for model in (risk, entities):
            serving_form.check(Path(model.path), str(model.info.metadata.get("serving_sha256", "")))
        engine = open_database(settings.database, may_migrate=settings.migration == "at_start")
        models = {model.tag.name: version_of(model) for model in (risk, entities)}
        metrics = Metrics(server_folder((settings.scratch or settings.home).resolve()), models)
        self.application = Application.open(settings, engine, metrics, risk, entities, models)
        self._keyring: Keyring | None = None
        http.bind(self.application, self._gate(settings, engine), self._log, settings)
        # What is loaded by now stays: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        _give_back()

    def close(self) -> None:
        """Lets what was accepted reach the disk."""
        if self._keyring is not None:
            self._keyring.close()
        self.application.close()
        self._log.close()

    def _gate(self, settings: Settings, engine: Engine) -> Gate:
        if settings.access == "keys":
            self._keyring = Keyring(ApiKeys(engine), settings.rate_limit_per_s)
            return KeyGate(self._keyring)
        local_only = settings.access == "local"
        return KeylessGate(local_only=local_only, origins=settings.allowed_origins)


def _give_back() -> None:
    # What reading the models freed stays with the C library (glibc) until it is told: 30 MB.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
