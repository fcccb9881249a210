"""Decisions counted by time, level and probability, so that charts read no decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


# A cast rounds in PostgreSQL, and cuts in SQLite, which may come without floor().
_TWENTIETH = {
    "sqlite": "CAST(fraud_probability * 20 AS INTEGER)",
    "postgresql": "CAST(floor(fraud_probability * 20) AS INTEGER)",
}


def upgrade() -> None:
    op.create_table(
        "decision_counts",
        sa.Column(
            "span_s",
            sa.SmallInteger(),
            autoincrement=False,
            nullable=False,
            comment="its length: 300 or 14400",
        ),
        sa.Column(
            "span_us",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="its beginning, microseconds since 1970, UTC",
        ),
        sa.Column("level", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "twentieth",
            sa.SmallInteger(),
            autoincrement=False,
            nullable=False,
            comment="of the probability: 0 is 0.00 to 0.05, 19 is 0.95 to 1.00",
        ),
        sa.Column("decisions", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "span_s", "span_us", "level", "twentieth", name=op.f("pk_decision_counts")
        ),
    )
    # What is in the log already; some seconds' work a million decisions.
    twentieth = _TWENTIETH[op.get_bind().dialect.name]
    for span_s in (300, 14_400):
        op.execute(
            f"""
            INSERT INTO decision_counts (span_s, span_us, level, twentieth, decisions)
            SELECT {span_s}, span_us, level, twentieth, count(*)
            FROM (
                SELECT
                    recorded_at_us - recorded_at_us % {span_s}000000 AS span_us,
                    level,
                    CASE WHEN fraud_probability >= 1 THEN 19 ELSE {twentieth} END AS twentieth
                FROM decisions
            ) AS counted
            GROUP BY span_us, level, twentieth
            """  # noqa: S608 (our own words)
        )
