"""Jobs: bodies of rows that are worked on after the request that brought them."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False, comment="score or predict"),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column(
            "place", sa.String(length=32), nullable=False, comment="of the disk with its files"
        ),
        sa.Column("form", sa.String(length=8), nullable=False, comment="of the body"),
        sa.Column("coding", sa.String(length=8), nullable=False, comment="of the body"),
        sa.Column("answer", sa.String(length=8), nullable=False, comment="the result's form"),
        sa.Column("client_key", sa.Text(), comment="the API key's id and its Idempotency-Key"),
        sa.Column(
            "digest", sa.String(length=64), nullable=False, comment="SHA-256 of what was submitted"
        ),
        sa.Column("created_at_us", sa.BigInteger(), nullable=False),
        sa.Column("started_at_us", sa.BigInteger()),
        sa.Column("ended_at_us", sa.BigInteger()),
        sa.Column(
            "seen_at_us", sa.BigInteger(), nullable=False, comment="its server was alive then"
        ),
        sa.Column("body_bytes", sa.BigInteger(), nullable=False),
        sa.Column("read_bytes", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False, comment="answered, with the refused"),
        sa.Column("refused", sa.BigInteger(), nullable=False),
        sa.Column("line", sa.BigInteger(), nullable=False, comment="the last one answered"),
        sa.Column("result_bytes", sa.BigInteger(), nullable=False),
        sa.Column(
            "takes", sa.SmallInteger(), nullable=False, comment="begun since the last progress"
        ),
        sa.Column("error", sa.Text()),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_jobs")),
        sa.UniqueConstraint("client_key", name=op.f("uq_jobs_client_key")),
    )
