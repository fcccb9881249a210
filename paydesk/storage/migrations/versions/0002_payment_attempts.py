"""payment attempts: fence, deadline, doubt and note of every payment."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("payments") as payments:
        payments.add_column(
            sa.Column(
                "attempt",
                sa.Integer(),
                nullable=False,
                server_default="0",
                comment="calls begun, a fence",
            )
        )
        payments.add_column(
            sa.Column(
                "first_sent_at_us",
                sa.BigInteger(),
                comment="the bank's memory of the key counts from it",
            )
        )
        payments.add_column(
            sa.Column(
                "due_at_us",
                sa.BigInteger(),
                comment="sent: the call is over by then; else: ask again then",
            )
        )
        payments.add_column(
            sa.Column(
                "in_doubt",
                sa.Boolean(),
                nullable=False,
                server_default=sa.false(),
                comment="may be booked",
            )
        )
        payments.add_column(
            sa.Column(
                "note", sa.Text(), comment="JSON: why a held payment was let through, and by whom"
            )
        )
        payments.drop_index("ix_payments_state")
        payments.create_index("ix_payments_state_due_at_us", ["state", "due_at_us"])
        payments.create_index(
            "ix_payments_created_at_us_payment_id", ["created_at_us", "payment_id"]
        )
