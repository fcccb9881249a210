"""The same numbers from a request, a file and a cluster, and scikit-learn's own."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, Running, Trained
from spark_cluster import running_cluster, spark_submit
from test_bulk_files import Cli, read
from test_bulk_http import as_csv, as_jsonl, rows_of

from paydesk.risk.columns import DataError
from paydesk.risk.forest import Forest
from paydesk.tracking_store import open_store
from training.transactions import simulate

ROWS = 100_000
COLUMNS = ["tx_id", "timestamp", "customer_id", "store", "category", "amount"]
DECISION = ["score", "risk_level", "fraud"]


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Transactions that the forest never saw, with times as a JSON client writes them."""
    made = simulate(customers=1_000, stores=300, days=80, seed=99)[COLUMNS].head(ROWS)
    assert len(made) == ROWS
    return made.assign(timestamp=made["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S"))


def need_java() -> None:
    if shutil.which("java") is None:
        reason = "Spark needs Java: apt-get install openjdk-17-jre-headless"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="module")
def spark() -> Iterator[object]:
    """A real Spark on two threads."""
    need_java()
    from pyspark.sql import SparkSession  # noqa: PLC0415

    os.environ["PYSPARK_PYTHON"] = sys.executable
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.session.timeZone", "UTC")
        .getOrCreate()
    )
    yield session
    session.stop()


def test_100_000_transactions_get_the_same_decisions_everywhere(
    running: Running,
    trained: Trained,
    spark: object,
    data: pd.DataFrame,
    tmp_path: Path,
) -> None:
    from paydesk.bulk.spark import score  # noqa: PLC0415

    found: dict[str, pd.DataFrame] = {}
    with httpx.Client(base_url=running.url, timeout=250) as client:
        few = data.iloc[:: ROWS // 3_000].to_dict("records")
        single = [client.post("/score", json=tx).json() for tx in few]
        lines = client.post("/score/bulk", content=as_jsonl(data))
        found["bulk"] = pd.DataFrame(rows_of(lines))
    path = tmp_path / "tx.csv"
    path.write_bytes(as_csv(data))
    code, said = Cli(trained, tmp_path / "home")(path, "--out", tmp_path / "o.parquet")
    assert code == 0, said
    found["files"] = pd.DataFrame(read(tmp_path / "o.parquet"))
    data.to_parquet(tmp_path / "in.parquet", index=False)
    df = spark.read.parquet(str(tmp_path / "in.parquet"))  # type: ignore[attr-defined]
    scored = score(df.repartition(4), trained.model("risk"), name="risk:1")
    scored.write.parquet(str(tmp_path / "spark"))
    back = pd.read_parquet(tmp_path / "spark").sort_values("tx_id", ignore_index=True)
    assert back["error"].isna().all()
    assert back.columns[: len(COLUMNS)].tolist() == COLUMNS
    found["spark"] = back

    open_store(trained.tracking_uri)
    native = mlflow.sklearn.load_model("models:/risk@champion")
    encoder = Forest.load(trained.model("risk")).encoder
    hours = pd.to_datetime(data["timestamp"]).dt.hour.to_numpy()
    features = encoder.columns(data["amount"].to_numpy(), hours, data["category"].tolist())
    own = native.predict_proba(pd.DataFrame(features, columns=encoder.names))[:, 1]
    for way, frame in found.items():
        ordered = frame.sort_values("tx_id", ignore_index=True)
        assert ordered["tx_id"].tolist() == data["tx_id"].tolist(), way
        assert np.abs(ordered["fraud_probability"].to_numpy() - own).max() <= 1e-6, way
        for name in DECISION:
            first = found["bulk"].sort_values("tx_id", ignore_index=True)
            assert ordered[name].tolist() == first[name].tolist(), (way, name)
        for name in ("triggered_rules", "reasons"):
            same = zip(ordered[name], found["bulk"][name], strict=True)
            assert all(list(left) == list(right) for left, right in same), (way, name)
    by_id = found["bulk"].set_index("tx_id")
    for decision in single:
        row = by_id.loc[decision["tx_id"]]
        assert abs(row["fraud_probability"] - decision["fraud_probability"]) <= 1e-6
        for name in (*DECISION, "triggered_rules", "reasons"):
            assert row[name] == decision[name]


def test_a_bad_row_of_a_frame_has_its_error_and_nulls(spark: object, trained: Trained) -> None:
    from paydesk.bulk.spark import score  # noqa: PLC0415

    df = spark.createDataFrame(  # type: ignore[attr-defined]
        [("A", 5000.0, 3), ("B", -1.0, 3), ("payment:1", 1.0, None)], "id string, amt double, h int"
    )
    named = {"tx_id": "id", "amount": "amt", "hour": "h"}
    scored = score(df, trained.model("risk"), columns=named)
    rows = {row["id"]: row for row in scored.collect()}
    assert (rows["A"]["risk_level"], rows["A"]["score"], rows["A"]["error"]) == (
        "CRITICAL",
        5,
        None,
    )
    assert rows["B"]["risk_level"] is None
    assert "greater than or equal to 0" in rows["B"]["error"]
    assert "payment" in rows["payment:1"]["error"]
    with pytest.raises(DataError, match="there is no column 'amount'"):
        score(df, trained.model("risk"))
    with pytest.raises(DataError, match="has a column 'score' already"):
        score(df.withColumn("score", df["amt"]), trained.model("risk"), columns=named)


def test_spark_submit_to_two_workers_with_paydesk_and_python_sent_along(
    trained: Trained, tmp_path: Path
) -> None:
    need_java()
    package = tmp_path / "paydesk.zip"
    with zipfile.ZipFile(package, "w") as archive:
        for path in sorted((ROOT / "paydesk").rglob("*")):
            if path.suffix in {".py", ".toml", ".txt"}:
                archive.write(path, path.relative_to(ROOT))
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPACKED=yes exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    with tarfile.open(tmp_path / "env.tar.gz", "w:gz") as packed:
        packed.add(python, "bin/python")
    rows = pd.DataFrame({"tx_id": [f"T{n}" for n in range(200)], "amount": [5000.0, 1.0] * 100})
    rows.to_parquet(tmp_path / "in.parquet")
    job = tmp_path / "job.py"
    job.write_text(
        "import os, sys\n"
        "from pyspark.sql import SparkSession\n"
        "from pyspark.sql.functions import udf\n"
        "from paydesk.bulk import spark as bulk\n"
        "assert '.zip' in bulk.__file__, bulk.__file__\n"
        "spark = SparkSession.builder.getOrCreate()\n"
        "df = spark.read.parquet(sys.argv[1]).repartition(4)\n"
        "where = udf(lambda: os.environ['PACKED'] + ' ' + os.getcwd())\n"
        "scored = bulk.score(df, sys.argv[2]).withColumn('where', where())\n"
        "scored.write.parquet(sys.argv[3])\n"
    )
    with running_cluster(tmp_path, workers=2) as master:
        done = subprocess.run(
            [
                *(spark_submit(), "--master", master, "--executor-memory", "768m"),
                *("--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1"),
                *("--archives", f"{tmp_path / 'env.tar.gz'}#env", "--py-files", str(package)),
                *(str(job), str(tmp_path / "in.parquet"), str(trained.model("risk"))),
                str(tmp_path / "out"),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYSPARK_DRIVER_PYTHON": sys.executable,
                "PYSPARK_PYTHON": "./env/bin/python",
                "PYTHONPATH": "",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
    assert done.returncode == 0, done.stderr[-3_000:]
    found = pd.read_parquet(tmp_path / "out").sort_values("amount")
    assert found["risk_level"].tolist() == ["LOW"] * 100 + ["HIGH"] * 100
    assert sorted(found["tx_id"]) == sorted(rows["tx_id"])
    places = {where.partition("/work")[2][0] for where in found["where"]}
    assert places == {"0", "1"}
    assert all(where.startswith("yes ") for where in found["where"])
