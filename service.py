"""The BentoML service: composes, decides nothing."""

import bentoml
from bentoml.models import BentoModel

from paydesk.entities.schema import Reading
from paydesk.errors import PaydeskError
from paydesk.payments.payment import PaymentRecord
from paydesk.risk.transaction import Decision, Transaction
from paydesk.settings import Settings
from paydesk.web import protocol
from paydesk.web.answers import Email
from paydesk.web.front import Front
from paydesk.web.holding import PaymentOrder
from paydesk.web.routes import Http
from paydesk.web.worker import Worker, check

HTTP = Http()
protocol.install(HTTP)


@bentoml.service(
    name="paydesk",
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    # Longer than a body and then a lane may take: its answer is none of ours.
    traffic={"timeout": 90},
)
class Paydesk:
    """Fraud scores, payment e-mails and payments."""

    risk = BentoModel("risk:latest")
    entities = BentoModel("entities:latest")

    def __init__(self) -> None:
        self.worker = Worker(HTTP, Settings.read(), self.risk, self.entities)
        self.application = self.worker.application

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

    @bentoml.on_deployment  # which makes it static
    def before_the_workers() -> None:
        """Ends a start that cannot succeed, with one sentence."""
        try:
            check(Settings.read())
        except PaydeskError as error:
            raise SystemExit(f"Error: {error}") from None

    @bentoml.on_shutdown
    def close(self) -> None:
        """Lets what was accepted reach the disk."""
        self.worker.close()


# Where another server than ours stands below; ours asks the routes before BentoML's own stack.
Paydesk.add_asgi_middleware(Front, http=HTTP)  # type: ignore[attr-defined]  # no class by now
