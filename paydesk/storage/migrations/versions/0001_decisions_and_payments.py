"""decisions and payments."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "decision_totals",
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("decisions", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("level", name=op.f("pk_decision_totals")),
    )
    op.bulk_insert(
        sa.table("decision_totals", sa.column("level"), sa.column("decisions")),
        [{"level": level, "decisions": 0} for level in range(4)],
    )
    op.create_table(
        "decisions",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("decision_id", sa.String(length=36), nullable=False),
        sa.Column(
            "recorded_at_us",
            sa.BigInteger(),
            nullable=False,
            comment="microseconds since 1970, UTC",
        ),
        sa.Column("tx_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.Text(), nullable=False, comment="decimal, as scored"),
        sa.Column("category", sa.Text(), nullable=True),
        sa.Column("hour", sa.SmallInteger(), nullable=False),
        sa.Column("store", sa.Text(), nullable=True),
        sa.Column("customer_id", sa.Text(), nullable=True),
        sa.Column(
            "level",
            sa.SmallInteger(),
            nullable=False,
            comment="0 LOW, 1 MEDIUM, 2 HIGH, 3 CRITICAL",
        ),
        sa.Column("points", sa.Integer(), nullable=False),
        sa.Column("fraud", sa.Boolean(), nullable=False),
        sa.Column("fraud_probability", sa.Float(precision=53), nullable=False),
        sa.Column("triggered_rules", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("reasons", sa.Text(), nullable=False, comment="JSON list"),
        sa.Column("model", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_decisions")),
        sa.UniqueConstraint("decision_id", name=op.f("uq_decisions_decision_id")),
    )
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_decisions_level_seq"), ["level", "seq"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_decisions_recorded_at_us"), ["recorded_at_us"], unique=False
        )
        batch_op.create_index(batch_op.f("ix_decisions_tx_id_seq"), ["tx_id", "seq"], unique=False)

    op.create_table(
        "payments",
        sa.Column("payment_id", sa.String(length=36), nullable=False),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_at_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("creditor", sa.Text(), nullable=False),
        sa.Column("debtor", sa.Text(), nullable=False),
        sa.Column(
            "amount", sa.Text(), nullable=False, comment="decimal, in the currency's own digits"
        ),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("client_key", sa.Text(), nullable=True, comment="the caller's Idempotency-Key"),
        sa.Column(
            "request_digest",
            sa.String(length=64),
            nullable=False,
            comment="SHA-256 of the caller's body",
        ),
        sa.Column("bank_key", sa.String(length=40), nullable=False, comment="never changes"),
        sa.Column("instruction", sa.Text(), nullable=False, comment="JSON, as sent to the bank"),
        sa.Column("bank_reference", sa.Text(), nullable=True),
        sa.Column("bank_status", sa.Text(), nullable=True),
        sa.Column("bank_answer", sa.Text(), nullable=True, comment="JSON, as the bank sent it"),
        sa.Column("sandbox", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_payments")),
        sa.UniqueConstraint("bank_key", name=op.f("uq_payments_bank_key")),
        sa.UniqueConstraint("client_key", name=op.f("uq_payments_client_key")),
    )
    with op.batch_alter_table("payments", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_payments_creditor_debtor_amount_currency_created_at_us"),
            ["creditor", "debtor", "amount", "currency", "created_at_us"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_payments_state"), ["state"], unique=False)

    op.create_table(
        "payment_events",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("payment_id", sa.String(length=36), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("bank_reference", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["payments.payment_id"],
            name=op.f("fk_payment_events_payment_id_payments"),
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_payment_events")),
        sa.UniqueConstraint("payment_id", "seq", name=op.f("uq_payment_events_payment_id_seq")),
    )
