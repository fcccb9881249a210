"""From file to file: `paydesk score` beside pandas with scikit-learn on all cores, in the same run.

    python -m benchmarks.bulk_files [--rows 1000000]

Both read the same Parquet file and write one with a probability a row. The peer reads with pandas,
encodes with Paydesk's own encoder, and asks the native forest with n_jobs=-1; it judges no rules,
checks no row and gives no reasons. Needs the champion in the embedded store and in the Bento store,
where `make serve` puts it; BENTOML_HOME says where the latter is.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import mlflow
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from bentoml.models import get

from benchmarks import report
from paydesk.risk.features import Encoder
from paydesk.settings import Settings
from paydesk.tracking_store import open_store, tracking_uri
from training.transactions import simulate


def main(
    rows: Annotated[int, typer.Option(help="Rows of the file.")] = 1_000_000,
    runs: Annotated[int, typer.Option(help="Runs of each, in turn; the fastest counts.")] = 3,
    peer: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Prints both rates, their ratio, and the memory that each took at most."""
    if peer:
        _score_with_scikit_learn(*map(Path, peer.split(":")))
        return
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.parquet"
        make(source, rows)
        ways = {
            "paydesk score": ["-m", "paydesk", "score", str(source), "--overwrite", "--out"],
            "pandas and scikit-learn": [__file__, "--peer"],
        }
        best: dict[str, tuple[float, int]] = {}
        for _ in range(runs):
            for name, words in ways.items():
                out = str(Path(folder) / f"{len(name)}.parquet")
                last = out if words[0] == "-m" else f"{source}:{out}"
                took, memory = _run([*words, last])
                best[name] = min(best.get(name, (took, memory)), (took, memory))
    ours, theirs = (best[name][0] for name in ways)
    report.table(
        ("from Parquet to Parquet", "rows a second", "s", "memory, MB"),
        [
            [name, f"{rows / took:,.0f}", f"{took:.1f}", f"{memory / 1e6:,.0f}"]
            for name, (took, memory) in best.items()
        ],
    )
    print(f"\nRatio: {theirs / ours:.2f}")
    seconds = {name: took for name, (took, _) in best.items()}
    report.keep("bulk-files", {"rows": rows, "seconds": seconds, "ratio": theirs / ours})
    rates = {name: rows / took for name, took in seconds.items()}
    title = f"{rows:,} rows from Parquet to Parquet, all cores"
    report.bars("bulk-files", title, "rows a second", rates, "paydesk score")


def make(path: Path, rows: int) -> None:
    """A file of so many simulated transactions, no two amounts alike by chance."""
    data = simulate(customers=1_500, stores=400, days=60, seed=99).drop(
        columns=["label", "scenario"]
    )
    chance = np.random.default_rng(1)
    writer: pq.ParquetWriter | None = None
    done = 0
    while done < rows:
        part = data.head(rows - done)
        part = part.assign(
            amount=(part["amount"] * chance.uniform(0.5, 1.5, len(part))).round(2),
            tx_id=[f"TX{n:09d}" for n in range(done, done + len(part))],
        )
        table = pa.Table.from_pandas(part, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        done += len(part)
    if writer is not None:
        writer.close()


def _run(words: list[str]) -> tuple[float, int]:
    """Seconds, and the most bytes that the process and those below it had for themselves."""
    began = time.perf_counter()
    running = psutil.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)
    most = 0
    while running.poll() is None:
        try:
            below = [running, *running.children(recursive=True)]
            most = max(most, sum(process.memory_full_info().uss for process in below))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.2)
    if running.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {running.returncode}")
    return time.perf_counter() - began, most


def _score_with_scikit_learn(source: Path, out: Path) -> None:
    open_store(tracking_uri(Settings()))
    forest = mlflow.sklearn.load_model("models:/risk@champion")
    forest.n_jobs = -1
    described = Path(get("risk:latest").path) / "model.json"
    encoder = Encoder.from_json(json.loads(described.read_text("utf-8"))["encoder"])
    data = pd.read_parquet(source)
    features = encoder.columns(
        data["amount"].to_numpy(np.float64),
        data["timestamp"].dt.hour.to_numpy(),
        data["category"].tolist(),
    )
    frame = pd.DataFrame(features, columns=encoder.names)
    probability = forest.predict_proba(frame)[:, 1]
    pd.DataFrame({"tx_id": data["tx_id"], "fraud_probability": probability}).to_parquet(out)


if __name__ == "__main__":
    typer.run(main)
