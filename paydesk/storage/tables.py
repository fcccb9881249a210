"""The tables, as SQLAlchemy Core describes them; `migrations/` brings a database to this shape."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite hands out row ids for INTEGER PRIMARY KEY only.
_ROW_ID = BigInteger().with_variant(Integer, "sqlite")

# Most callers send no store: their decisions cost this index nothing.
_STORE_KNOWN = text("store IS NOT NULL")
SOURCE_KNOWN = text("source IS NOT NULL")

decisions = Table(
    "decisions",
    metadata,
    Column("seq", _ROW_ID, primary_key=True, autoincrement=True),
    Column("decision_id", String(36), nullable=False, unique=True),
    Column("recorded_at_us", BigInteger, nullable=False, comment="microseconds since 1970, UTC"),
    Column("tx_id", Text, nullable=False),
    Column("amount", Text, nullable=False, comment="decimal, as scored"),
    Column("category", Text),
    Column("hour", SmallInteger, nullable=False),
    Column("store", Text),
    Column("customer_id", Text),
    Column("level", SmallInteger, nullable=False, comment="0 LOW, 1 MEDIUM, 2 HIGH, 3 CRITICAL"),
    Column("points", Integer, nullable=False),
    Column("fraud", Boolean, nullable=False),
    Column("fraud_probability", Float(53), nullable=False),
    Column("triggered_rules", Text, nullable=False, comment="JSON list"),
    Column("reasons", Text, nullable=False, comment="JSON list"),
    Column("model", Text, nullable=False),
    Column("source", Text, comment="what it answers; the same is answered once"),
    Index(None, "tx_id", "seq"),
    Index(None, "recorded_at_us", "seq"),
    Index(None, "level", "seq"),
    Index(
        None,
        "store",
        "seq",
        sqlite_where=_STORE_KNOWN,
        postgresql_where=_STORE_KNOWN,
    ),
    Index(
        None,
        "source",
        unique=True,
        sqlite_where=SOURCE_KNOWN,
        postgresql_where=SOURCE_KNOWN,
    ),
)

# Counted in the same commit as the decisions, so that totals cost one row to read.
decision_totals = Table(
    "decision_totals",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("decisions", BigInteger, nullable=False),
)

# Counted in the same commit, too: charts read these, never the decisions. Each decision is in a
# fine span and in a coarse one, so that a day and a month read about as few rows.
decision_counts = Table(
    "decision_counts",
    metadata,
    Column(
        "span_s",
        SmallInteger,
        primary_key=True,
        autoincrement=False,
        comment="its length: 300 or 14400",
    ),
    Column(
        "span_us",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="its beginning, microseconds since 1970, UTC",
    ),
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column(
        "twentieth",
        SmallInteger,
        primary_key=True,
        autoincrement=False,
        comment="of the probability: 0 is 0.00 to 0.05, 19 is 0.95 to 1.00",
    ),
    Column("decisions", BigInteger, nullable=False),
)

payments = Table(
    "payments",
    metadata,
    Column("payment_id", String(36), primary_key=True),
    Column("created_at_us", BigInteger, nullable=False),
    Column("updated_at_us", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("creditor", Text, nullable=False),
    Column("debtor", Text, nullable=False),
    Column("amount", Text, nullable=False, comment="decimal, in the currency's own digits"),
    Column("currency", String(3), nullable=False),
    Column("client_key", Text, unique=True, comment="the caller's Idempotency-Key"),
    Column("request_digest", String(64), nullable=False, comment="SHA-256 of the caller's body"),
    Column("bank_key", String(40), nullable=False, unique=True, comment="never changes"),
    Column("instruction", Text, nullable=False, comment="JSON, as sent to the bank"),
    Column("bank_reference", Text),
    Column("bank_status", Text),
    Column("bank_answer", Text, comment="JSON, as the bank sent it"),
    Column("sandbox", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False, server_default="0", comment="calls begun, a fence"),
    Column("first_sent_at_us", BigInteger, comment="the bank's memory of the key counts from it"),
    Column("due_at_us", BigInteger, comment="sent: the call is over by then; else: ask again then"),
    Column("in_doubt", Boolean, nullable=False, server_default=false(), comment="may be booked"),
    Column("note", Text, comment="JSON: why a held payment was let through"),
    Column("bank_fingerprint", String(64), comment="SHA-256 of the bank that it was sent to"),
    Index(None, "state", "due_at_us"),
    Index(None, "created_at_us", "payment_id"),
    Index(None, "creditor", "debtor", "amount", "currency", "created_at_us"),
)

payment_events = Table(
    "payment_events",
    metadata,
    Column("seq", _ROW_ID, primary_key=True, autoincrement=True),
    Column("payment_id", String(36), ForeignKey("payments.payment_id"), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("request_id", Text),
    Column("bank_reference", Text),
    Column("override_decision_id", String(36), unique=True, comment="lets one payment through"),
    UniqueConstraint("payment_id", "seq"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String(12), primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", String(64), nullable=False, comment="SHA-256 of the key"),
    Column("scopes", Text, nullable=False, comment="separated by spaces"),
    Column("created_at_us", BigInteger, nullable=False),
    Column("revoked_at_us", BigInteger),
)

# Of a body and a result there are only the sizes here: they are files of the server that took them.
jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("kind", String(8), nullable=False, comment="score or predict"),
    Column("state", String(8), nullable=False),
    Column("place", String(32), nullable=False, comment="of the disk with its files"),
    Column("form", String(8), nullable=False, comment="of the body"),
    Column("coding", String(8), nullable=False, comment="of the body"),
    Column("answer", String(8), nullable=False, comment="the result's form"),
    Column("client_key", Text, unique=True, comment="the API key's id and its Idempotency-Key"),
    Column("digest", String(64), nullable=False, comment="SHA-256 of what was submitted"),
    Column("created_at_us", BigInteger, nullable=False),
    Column("started_at_us", BigInteger),
    Column("ended_at_us", BigInteger),
    Column("seen_at_us", BigInteger, nullable=False, comment="its server was alive then"),
    Column("body_bytes", BigInteger, nullable=False),
    Column("read_bytes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False, comment="answered, with the refused"),
    Column("refused", BigInteger, nullable=False),
    Column("line", BigInteger, nullable=False, comment="the last one answered"),
    Column("result_bytes", BigInteger, nullable=False),
    Column("takes", SmallInteger, nullable=False, comment="begun since the last progress"),
    Column("error", Text),
)

stream_scorers = Table(
    "stream_scorers",
    metadata,
    Column("group_name", Text, primary_key=True),
    Column("name", Text, primary_key=True, comment="one of its group"),
    Column("heard_at_us", BigInteger, nullable=False),
    Column("report", Text, nullable=False, comment="JSON"),
)
