"""API keys; decisions by store, and by time in a stable order."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(length=12), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False, comment="SHA-256 of the key"),
        sa.Column("scopes", sa.Text(), nullable=False, comment="separated by spaces"),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_keys")),
    )
    op.drop_index("ix_decisions_recorded_at_us", "decisions")
    op.create_index("ix_decisions_recorded_at_us_seq", "decisions", ["recorded_at_us", "seq"])
    with_store = sa.text("store IS NOT NULL")
    op.create_index(
        "ix_decisions_store_seq",
        "decisions",
        ["store", "seq"],
        sqlite_where=with_store,
        postgresql_where=with_store,
    )
