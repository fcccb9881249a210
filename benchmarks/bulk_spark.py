"""A table scored by Spark: `paydesk.bulk.spark.score` beside scikit-learn in a pandas UDF, in turn.

    python -m benchmarks.bulk_spark [--rows 1000000]

On one thread, on two, and on a standalone cluster of two workers with a core each. Both read the
same Parquet files and write to Spark's noop sink: what is measured is reading, scoring and what
Spark does between its JVM and Python. The peer encodes with Paydesk's own encoder and asks the
native forest for a probability; it judges no rules, checks no row and gives no reasons. Sessions
are started, and models loaded by each Python worker, before the clock runs. Needs Java, and the
champion in the embedded store and in the Bento store, where `make serve` puts it; BENTOML_HOME says
where the latter is.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from benchmarks import report
from benchmarks.bulk_files import make
from benchmarks.servers import champion

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from spark_cluster import running_cluster

_FILES = 8
_OURS, _PEER = "paydesk.bulk.spark", "scikit-learn in a pandas UDF"
_CLUSTER = "a cluster of two workers"


def main(
    rows: Annotated[int, typer.Option(help="Rows of the table.")] = 1_000_000,
    rounds: Annotated[int, typer.Option(help="Runs of each way, in turn.")] = 3,
    child: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Prints rows a second of both ways on each master, and keeps them for the docs."""
    if child:
        print(json.dumps(_seconds(*child.split("|"), rounds)))
        return
    serving, native = champion("risk")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        table = folder / "table"
        table.mkdir()
        make(folder / "one.parquet", rows)
        whole = pd.read_parquet(folder / "one.parquet")
        for n in range(_FILES):
            whole.iloc[n::_FILES].to_parquet(table / f"part{n}.parquet", index=False)
        (folder / "one.parquet").unlink()
        rates: dict[str, dict[str, list[float]]] = {}

        def measure(name: str, master: str) -> None:
            took = _in_a_child(f"{master}|{table}|{serving}|{native}", rounds)
            rates[name] = {way: [rows / s for s in seconds] for way, seconds in took.items()}

        measure("local[1]", "local[1]")
        measure("local[2]", "local[2]")
        with running_cluster(folder, workers=2) as master:
            measure(_CLUSTER, master)
    lines = []
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found[_OURS], found[_PEER], strict=True))
        middle = [f"{statistics.median(found[way]):,.0f}" for way in (_OURS, _PEER)]
        lines.append([name, *middle, f"{ratio:.2f}"])
    report.table(("rows a second", _OURS, _PEER, "ratio"), lines)
    report.keep("bulk-spark", {"rows": rows, "files": _FILES, "rows_a_second": rates})
    middles = {
        f"{name}, {way}": statistics.median(found[way])
        for name, found in rates.items()
        for way in (_OURS, _PEER)
    }
    report.bars("bulk-spark", f"{rows:,} rows on Spark", "rows a second", middles, _OURS)


def _in_a_child(words: str, rounds: int) -> dict[str, list[float]]:
    # A JVM of its own: what one master has left is not there for the next.
    done = subprocess.run(
        [sys.executable, __file__, "--child", words, "--rounds", str(rounds)],
        env={**os.environ, "PYSPARK_PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _seconds(
    master: str, table: str, serving: str, native: str, rounds: int
) -> dict[str, list[float]]:
    from pyspark.sql import SparkSession  # noqa: PLC0415 (the parent needs no JVM)

    session = (
        SparkSession.builder.master(master)
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.executor.memory", "768m")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.files.maxPartitionBytes", "16m")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    df = session.read.parquet(table)
    ways: dict[str, Callable[[Any], Any]] = {
        _OURS: lambda some: _with_paydesk(some, serving),
        _PEER: lambda some: _with_scikit_learn(some, serving, native),
    }
    frames = {way: score(df) for way, score in ways.items()}
    for frame in frames.values():  # Loads the models.
        frame.limit(10_000).write.format("noop").mode("overwrite").save()
        frame.write.format("noop").mode("overwrite").save()
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, frame in frames.items():
            began = time.perf_counter()
            frame.write.format("noop").mode("overwrite").save()
            took[way].append(time.perf_counter() - began)
    session.stop()
    return took


def _with_paydesk(df: Any, serving: str) -> Any:
    from paydesk.bulk.spark import score  # noqa: PLC0415

    return score(df, serving)


def _with_scikit_learn(df: Any, serving: str, native: str) -> Any:
    import mlflow  # noqa: PLC0415
    from pyspark.sql import functions  # noqa: PLC0415

    from paydesk.risk.features import Encoder  # noqa: PLC0415

    forest = mlflow.sklearn.load_model(native)
    forest.n_jobs = 1  # Spark has a task a core.
    described = json.loads((Path(serving) / "model.json").read_text("utf-8"))
    sent = df.sparkSession.sparkContext.broadcast((forest, described["encoder"]))

    @functions.pandas_udf("double")  # type: ignore[call-overload]
    def probability(
        batches: Iterator[tuple[pd.Series, pd.Series, pd.Series]],
    ) -> Iterator[pd.Series]:
        model, encoder = sent.value[0], Encoder.from_json(sent.value[1])
        for amount, hour, category in batches:
            features = encoder.columns(amount.to_numpy(), hour.to_numpy(), category.tolist())
            frame = pd.DataFrame(features, columns=encoder.names)
            yield pd.Series(model.predict_proba(frame)[:, 1])

    columns = ("amount", functions.hour("timestamp"), "category")
    return df.withColumn("fraud_probability", probability(*columns))


if __name__ == "__main__":
    typer.run(main)
