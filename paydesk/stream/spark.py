"""The stream on a cluster: Kafka to Kafka with Spark Structured Streaming, and counts by window.

    from paydesk.stream.spark import main
    main()  # job.py, for spark-submit: see docs/stream.md

One query scores, and writes decisions, alerts and dead letters as `paydesk stream score` does; no
log of decisions is kept, the topic is the record. Spark writes to Kafka at least once: after a
crash a part of a batch may stand there twice, under the same decision_id, which is made of the
message's position. The other query counts decisions by window, level and store, each decision_id
once.
"""

import argparse
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import functions as f
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    LongType,
    StringType,
    StructField,
    StructType,
)

from paydesk.bulk.spark import scorer_of, send
from paydesk.risk.scorer import Scorer
from paydesk.risk.transaction import Level
from paydesk.settings import Settings
from paydesk.stream.letter import Letter, Position
from paydesk.stream.log_rows import log_rows
from paydesk.stream.messages import decision, read
from paydesk.stream.topics import Topics

if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql.streaming.readwriter import DataStreamWriter

_NAMESPACE = uuid.UUID("5b0f4d5e-3f0b-4a0e-8d5a-7a7d6c1f2e30")  # Of decision ids, once and for all.
_HEADER = StructType([StructField("key", StringType()), StructField("value", BinaryType())])
_SENT = StructType(
    [
        StructField("topic", StringType()),
        StructField("key", BinaryType()),
        StructField("value", BinaryType()),
        StructField("headers", ArrayType(_HEADER)),
    ]
)
_ARROW = pa.schema(
    [
        ("topic", pa.string()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))),
    ]
)
_COUNTED = StructType(
    [
        StructField("decision_id", StringType()),
        StructField("event_at_ms", LongType()),
        StructField("risk_level", StringType()),
        StructField("store", StringType()),
    ]
)


def scored(
    messages: "DataFrame",
    topics: Topics,
    topic_id: str,
    model: str | Path,
    *,
    name: str = "risk",
    rules: Path | None = None,
) -> "DataFrame":
    """What is to be sent of `messages`, which are as Spark's Kafka source has them.

    Columns: topic, key, value, headers. `topic_id` is that of the topic they come from; `model` and
    `rules` as bulk.spark.score has them.
    """
    sent = send(messages.sparkSession, model, rules)

    def score_batches(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        scorer = scorer_of(sent, name)
        for batch in batches:
            yield _scored(scorer, batch, topics, topic_id)

    wanted = messages.select("key", "value", "topic", "partition", "offset", "timestamp")
    return wanted.mapInArrow(score_batches, _SENT)  # type: ignore[arg-type]  # any iterator does


def _scored(scorer: Scorer, batch: pa.RecordBatch, topics: Topics, topic_id: str) -> pa.RecordBatch:
    keys, values, named, partitions, offsets = (
        batch.column(name).to_pylist() for name in ("key", "value", "topic", "partition", "offset")
    )
    times = batch.column("timestamp").cast(pa.timestamp("ms", "UTC"), safe=False)
    at_ms = times.cast(pa.int64()).to_pylist()
    sources = [f"{topic_id}/{at}/{offset}" for at, offset in zip(partitions, offsets, strict=True)]
    taken = read(keys, values)
    ids = [str(uuid.uuid5(_NAMESPACE, sources[place])) for place in taken.rows.lines]
    rows = log_rows(scorer, taken, sources, ids, time.time_ns() // 1_000)
    out: list[dict[str, Any]] = []
    for place, row in zip(taken.rows.lines, rows, strict=True):
        value = decision(row, at_ms[place])
        to = [topics.decisions, topics.alerts] if row["level"] >= Level.HIGH else [topics.decisions]
        out += [{"topic": topic, "key": keys[place], "value": value} for topic in to]
    for refusal in taken.refusals:
        n = refusal.place
        position = Position(named[n], partitions[n], offsets[n], at_ms[n])
        letter = Letter.of(refusal, position, keys[n], values[n])
        headers = [{"key": name, "value": value} for name, value in letter.headers]
        said = {"key": letter.key, "value": letter.value, "headers": headers}
        out.append({"topic": topics.dead, **said})
    return pa.RecordBatch.from_pylist(out, schema=_ARROW)


def counted(decisions: "DataFrame", window: str, late: str) -> "DataFrame":
    """Messages with the decisions of each window, by level and store: key and value.

    The time is that of the transaction's message. What comes later than `late` is not counted.
    """
    read_out = decisions.select(
        f.from_json(f.col("value").cast("string"), _COUNTED).alias("decision")
    ).select("decision.*")
    at = f.timestamp_millis("event_at_ms").alias("at")
    grouped = (
        read_out.select("decision_id", "risk_level", "store", at)
        .withWatermark("at", late)
        .dropDuplicatesWithinWatermark(["decision_id"])
        .groupBy(f.window("at", window), "risk_level", "store")
        .count()
    )
    told = grouped.select(
        f.lit(1).alias("version"),
        f.unix_millis("window.start").alias("from_ms"),
        f.unix_millis("window.end").alias("until_ms"),
        "risk_level",
        "store",
        f.col("count").alias("decisions"),
    )
    # One key a count: what comes later takes the place of what was there.
    key = f.concat_ws("/", f.col("from_ms").cast("string"), "risk_level", "store")
    value = f.to_json(f.struct(*told.columns), {"ignoreNullFields": "false"})
    return told.select(key.alias("key"), value.alias("value"))


def source(
    spark: SparkSession, brokers: str, topic: str, options: Mapping[str, str]
) -> "DataFrame":
    """A stream of a topic's committed messages, from the oldest on."""
    settings = {
        "kafka.bootstrap.servers": brokers,
        "kafka.isolation.level": "read_committed",
        "subscribe": topic,
        "startingOffsets": "earliest",
        **options,
    }
    return spark.readStream.format("kafka").options(**settings).load()


def sink(df: "DataFrame", brokers: str, checkpoint: Path | str) -> "DataStreamWriter":
    """Where messages go; `checkpoint` is a folder that outlives the job, a query's own."""
    return (
        df.writeStream.format("kafka")
        .outputMode("update")
        .option("kafka.bootstrap.servers", brokers)
        .option("checkpointLocation", str(checkpoint))
    )


def main() -> None:
    """Runs both queries until they are stopped, or until all that is there is done."""
    settings = Settings.read()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--brokers", default=settings.brokers)
    parser.add_argument("--topic", default="", help="of transactions; PREFIXtransactions")
    parser.add_argument("--model", required=True, help="the folder of a serving form")
    parser.add_argument("--name", default="risk", help="what decisions say of the model")
    parser.add_argument("--checkpoint", required=True, help="a folder that outlives the job")
    parser.add_argument("--window", default="5 minutes")
    parser.add_argument("--late", default="10 minutes")
    parser.add_argument("--most", default="200000", help="messages a batch")
    parser.add_argument("--until-now", action="store_true", help="end with what is there now")
    given = parser.parse_args()

    from paydesk.stream.kafka import Kafka  # noqa: PLC0415 (the driver's alone)

    topics = Topics.of(settings, given.topic)
    kafka = Kafka(settings.model_copy(update={"brokers": given.brokers}))
    kafka.make_topics([topics.transactions])
    made = [topics.decisions, topics.alerts, topics.dead, topics.counts]
    kafka.make_topics(made, topics.transactions)
    topic_id = kafka.topic_id(topics.transactions)
    spark = SparkSession.builder.appName("paydesk-stream").getOrCreate()
    often = {"availableNow": True} if given.until_now else {"processingTime": "1 second"}

    def read_from(topic: str) -> "DataFrame":
        return source(spark, given.brokers, topic, {"maxOffsetsPerTrigger": given.most})

    checkpoint = str(given.checkpoint).rstrip("/")
    scoring = sink(
        scored(read_from(topics.transactions), topics, topic_id, given.model, name=given.name),
        given.brokers,
        f"{checkpoint}/scoring",
    )
    counting = sink(
        counted(read_from(topics.decisions), given.window, given.late),
        given.brokers,
        f"{checkpoint}/counting",
    ).option("topic", topics.counts)
    first = scoring.queryName("scoring").trigger(**often).start()
    if given.until_now:
        first.awaitTermination()
    counting.queryName("counting").trigger(**often).start()
    if given.until_now:
        for query in spark.streams.active:
            query.awaitTermination()
    else:
        spark.streams.awaitAnyTermination()


if __name__ == "__main__":
    main()
