"""payments: the bank that each was sent to; overrides that let one payment through."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column(
        "payments",
        sa.Column(
            "bank_fingerprint",
            sa.String(length=64),
            comment="SHA-256 of the bank that it was sent to",
        ),
    )
    with op.batch_alter_table("payment_events") as events:
        events.add_column(
            sa.Column(
                "override_decision_id", sa.String(length=36), comment="lets one payment through"
            )
        )
        events.create_unique_constraint(
            op.f("uq_payment_events_override_decision_id"), ["override_decision_id"]
        )
    if op.get_bind().dialect.name == "postgresql":  # SQLite keeps no comments.
        op.alter_column(
            "payments",
            "note",
            existing_type=sa.Text(),
            existing_comment="JSON: why a held payment was let through, and by whom",
            comment="JSON: why a held payment was let through",
        )
