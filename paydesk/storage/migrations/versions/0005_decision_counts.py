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
            "span_us",
            sa.BigInteger(),
            autoincrement=False,
            nullable=False,
            comment="the beginning of five minutes, microseconds since 1970, UTC",
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
        sa.PrimaryKeyConstraint("span_us", "level", "twentieth", name=op.f("pk_decision_counts")),
    )
    # What is in the log already; a second's work a million decisions.
    twentieth = _TWENTIETH[op.get_bind().dialect.name]
    op.execute(
        f"""
        INSERT INTO decision_counts (span_us, level, twentieth, decisions)
        SELECT span_us, level, twentieth, count(*)
        FROM (
            SELECT
                recorded_at_us - recorded_at_us % 300000000 AS span_us,
                level,
                CASE WHEN fraud_probability >= 1 THEN 19 ELSE {twentieth} END AS twentieth
            FROM decisions
        ) AS counted
        GROUP BY span_us, level, twentieth
        """  # noqa: S608 (our own words)
    )
