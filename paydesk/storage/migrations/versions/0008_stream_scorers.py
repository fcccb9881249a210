"""What each scorer of a stream last said of itself, for the monitor."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "stream_scorers",
        sa.Column("group_name", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="one of its group"),
        sa.Column("heard_at_us", sa.BigInteger(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False, comment="JSON"),
        sa.PrimaryKeyConstraint("group_name", "name", name=op.f("pk_stream_scorers")),
    )
