"""The BentoML service: composes, decides nothing."""

import bentoml
from bentoml.models import BentoModel

from paydesk.entities.schema import Reading
from paydesk.payments.payment import PaymentRecord
from paydesk.risk.transaction import Decision, Transaction
from paydesk.settings import Settings
from paydesk.web.application import Application, Email
from paydesk.web.front import Front
from paydesk.web.holding import PaymentOrder
from paydesk.web.routes import bind, http_routes

HTTP = http_routes()


@bentoml.service(
    name="paydesk",
    workers=1,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    traffic={"timeout": 60},
)
class Paydesk:
    """Fraud scores, payment e-mails and payments."""

    risk = BentoModel("risk:latest")
    entities = BentoModel("entities:latest")

    def __init__(self) -> None:
        self.application = Application.open(Settings(), self.risk, self.entities)
        bind(HTTP, self.application)

    @bentoml.api
    async def score(self, tx: Transaction, /) -> Decision:
        """The decision about a transaction, by rules and forest."""
        return await self.application.score(tx)

    @bentoml.api
    async def predict(self, email: Email, /) -> Reading:
        """The payment fields of an e-mail."""
        return await self.application.predict(email)

    @bentoml.api
    async def payment(self, order: PaymentOrder, /) -> PaymentRecord:
        """Sends a payment that a person confirmed to the bank."""
        return (await self.application.pay(order, None, None)).payment

    @bentoml.on_shutdown
    def close(self) -> None:
        """Lets what was accepted reach the disk."""
        self.application.close()


Paydesk.add_asgi_middleware(Front, http=HTTP)  # type: ignore[attr-defined]  # no class by now
