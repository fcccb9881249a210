"""How many payments are in which state."""

from sqlalchemy import Engine, func, select

from paydesk.storage.database import answering
from paydesk.storage.tables import payments


def payments_by_state(engine: Engine) -> dict[str, int]:
    """The number of payments by state. Raises DatabaseUnavailableError."""
    query = select(payments.c.state, func.count().label("number")).group_by(payments.c.state)
    with answering(), engine.connect() as connection:
        return {row.state: row.number for row in connection.execute(query)}
