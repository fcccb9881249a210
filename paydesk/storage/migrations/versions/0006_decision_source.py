"""What a decision answers: under one source, one decision, however often it is asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("decisions", sa.Column("source", sa.Text(), nullable=True))
    known = sa.text("source IS NOT NULL")
    op.create_index(
        "ix_decisions_source",
        "decisions",
        ["source"],
        unique=True,
        sqlite_where=known,
        postgresql_where=known,
    )
