"""`paydesk score`: any form in, one file out, bad rows beside it, nothing lost by a stop."""

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest
from backports import zstd
from conftest import ROOT, Trained

from paydesk.risk.forest import Forest
from paydesk.risk.rules import RuleBook
from paydesk.risk.scorer import Scorer
from paydesk.risk.transaction import Transaction
from training.transactions import simulate

ROWS = 150_000
KEPT = ["tx_id", "timestamp", "customer_id", "store", "category", "amount"]


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    """Transactions that the forest never saw."""
    return simulate(customers=200, stores=100, days=20, seed=99)[KEPT].head(5_000)


class Cli:
    """`paydesk score` with the trained models."""

    def __init__(self, trained: Trained, home: Path) -> None:
        self.environment = {
            **trained.environment,
            "PAYDESK_HOME": str(home),
            "COLUMNS": "300",
        }

    def __call__(self, *words: object, stdin: bytes | None = None) -> tuple[int, str]:
        done = subprocess.run(
            self.command(*words),
            cwd=ROOT,
            env=self.environment,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=120,
        )
        assert done.stdout == b""
        said = done.stderr.decode()
        assert "Traceback" not in said
        return done.returncode, said

    def start(self, *words: object) -> subprocess.Popen[bytes]:
        """Starts it, in a process group of its own."""
        return subprocess.Popen(
            # What a script starts in the background, and all below it, ignores Ctrl-C.
            ["env", "--default-signal=INT", *self.command(*words)],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "paydesk", "score", *map(str, words)]


@pytest.fixture
def cli(trained: Trained, tmp_path: Path) -> Cli:
    """The command."""
    return Cli(trained, tmp_path / "home")


def read(out: Path) -> list[dict[str, Any]]:
    """A result's rows, whatever its form."""
    if out.suffix == ".parquet":
        return list(pq.read_table(out).to_pylist())
    if out.suffix == ".jsonl":
        return [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    rows = pd.read_csv(out, keep_default_na=False, dtype={"tx_id": str}).to_dict("records")
    for row in rows:
        for name in ("triggered_rules", "reasons"):
            row[name] = row[name].split("; ") if row[name] else []
    return [{str(name): value for name, value in row.items()} for row in rows]


def as_text(data: pd.DataFrame) -> pd.DataFrame:
    """With times as a JSON client writes them."""
    return data.assign(timestamp=data["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S"))


def write(data: pd.DataFrame, path: Path) -> Path:
    """The data as a file of the form that its name says."""
    plain = path.with_suffix("") if path.suffix in {".gz", ".zst"} else path
    if plain.suffix == ".parquet":
        data.to_parquet(plain, index=False)
    elif plain.suffix == ".csv":
        as_text(data).to_csv(plain, index=False)
    else:
        as_text(data).to_json(plain, orient="records", lines=True)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(plain.read_bytes()))
    elif path.suffix == ".zst":
        path.write_bytes(zstd.compress(plain.read_bytes()))
    return path


@pytest.mark.parametrize(
    ("name", "result"),
    [
        ("tx.csv", "out.csv"),
        ("tx.csv.gz", "out.jsonl"),
        ("tx.jsonl.zst", "out.parquet"),
        ("tx.parquet", "out.parquet"),
        ("tx.parquet", "out.csv"),
    ],
)
def test_every_form_gives_the_decisions_of_score(
    cli: Cli, trained: Trained, data: pd.DataFrame, tmp_path: Path, name: str, result: str
) -> None:
    path, out = write(data, tmp_path / name), tmp_path / result
    code, said = cli(path, "--out", out)
    assert code == 0, said
    assert "5,000 rows scored with risk:1" in said
    found = read(out)
    scorer = Scorer(Forest.load(trained.model("risk")), RuleBook.read(), "risk:1")
    sent = as_text(data).to_dict("records")
    assert len(found) == len(sent)
    for row, tx in zip(found, sent, strict=True):
        expected = scorer.score(Transaction.model_validate(tx))
        assert row["tx_id"] == tx["tx_id"]
        assert row["risk_level"] == expected.level.name
        assert row["score"] == expected.points
        assert row["triggered_rules"] == expected.triggered_rules
        assert row["reasons"] == expected.reasons
        assert row["fraud"] == expected.fraud
        assert row["fraud_probability"] == pytest.approx(expected.probability, abs=1e-6)
        assert (row["file"], row["model"]) == (str(path), "risk:1")
    assert [row["line"] for row in found[:2]] == ([2, 3] if ".csv" in name else [1, 2])
    assert sorted(path.name for path in tmp_path.glob("out*")) == [result]


def test_bad_rows_go_beside_with_line_and_reason(cli: Cli, tmp_path: Path) -> None:
    path, out = tmp_path / "tx.csv", tmp_path / "out.csv"
    path.write_bytes(b"id,amt\nA,1\nB,x\npayment:1,2\nC,3\n\xff,4\n")
    code, said = cli(path, "--out", out, "--columns", "tx_id=id,amount=amt")
    assert code == 3
    assert "3 rows were refused" in said
    assert [row["tx_id"] for row in read(out)] == ["A", "C"]
    bad = [json.loads(line) for line in (tmp_path / "out.csv.bad.jsonl").read_text().splitlines()]
    assert [(row["file"], row["line"]) for row in bad] == [(str(path), n) for n in (3, 4, 6)]
    assert bad[0]["error"] == "amount: Input should be a valid number"


def test_a_folder_and_standard_input(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.csv").write_text("tx_id,amount\nA,1\n")
    (folder / "deep" / "b.jsonl").write_text('{"tx_id": "B", "amount": 2}\n')
    (folder / "notes.txt").write_text("nothing")
    assert cli(folder, "--out", tmp_path / "o.jsonl")[0] == 0
    assert [row["tx_id"] for row in read(tmp_path / "o.jsonl")] == ["A", "B"]
    for number, text in enumerate((b"tx_id,amount\nA,1\n", b'{"tx_id": "A", "amount": 1}')):
        out = tmp_path / f"s{number}.jsonl"
        assert cli("-", "--out", out, stdin=text)[0] == 0
        assert [row["tx_id"] for row in read(out)] == ["A"]


def wrong_type(path: Path) -> None:
    pd.DataFrame({"amount": ["1", "2"]}).to_parquet(path)


def no_column(path: Path) -> None:
    pd.DataFrame({"price": [1.0]}).to_parquet(path)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("tx.parquet", wrong_type, "the column 'amount', for amount, has the type"),
        ("tx.parquet", no_column, "there is no column 'amount' for amount; it has price."),
        ("tx.parquet", lambda path: path.write_bytes(b"PAR1 no"), "this is no Parquet file"),
        ("tx.csv", lambda path: path.write_text("a,b\n1,2\n"), "there is no column 'amount'"),
        ("tx.csv", lambda path: path.write_text(""), "There is no heading"),
        ("tx.csv", lambda path: path.write_bytes("amount\n1\n".encode("utf-16")), "UTF-16"),
        ("tx.csv", lambda path: path.write_bytes(b"amount\r1\r"), "CR alone"),
        ("tx.csv", lambda _path: None, "cannot be read: No such file or directory"),
        ("tx.xlsx", lambda path: path.write_text("x"), "Paydesk reads .csv, .jsonl"),
        ("folder", lambda path: path.mkdir(), "there is no file to score in this folder"),
    ],
)
def test_an_input_that_cannot_be_scored_is_one_sentence(
    cli: Cli, tmp_path: Path, name: str, make: Any, said: str
) -> None:
    make(tmp_path / name)
    code, told = cli(tmp_path / name, "--out", tmp_path / "o.csv")
    assert (code, told.count("\n")) == (2, 1)
    assert said in told
    assert not list(tmp_path.glob("o.csv*"))


def test_a_truncated_file_gives_what_is_whole_and_says_where_it_ends(
    cli: Cli, data: pd.DataFrame, tmp_path: Path
) -> None:
    path = write(data, tmp_path / "tx.csv.gz")
    path.write_bytes(path.read_bytes()[:-20_000])
    out = tmp_path / "o.jsonl"
    assert cli(path, "--out", out)[0] == 3
    rows = read(out)
    assert [row["tx_id"] for row in rows] == data["tx_id"].tolist()[: len(rows)]
    (bad,) = (tmp_path / "o.jsonl.bad.jsonl").read_text("utf-8").splitlines()
    assert json.loads(bad)["line"] == len(rows) + 2
    assert "breaks off here" in json.loads(bad)["error"]


def test_a_line_of_five_gigabytes_is_refused_in_its_place(cli: Cli, tmp_path: Path) -> None:
    path, out = tmp_path / "tx.jsonl", tmp_path / "o.jsonl"
    with path.open("wb") as file:
        file.write(b'{"tx_id": "A", "amount": 1}\n')
        file.seek(5 * 1024**3)  # A hole: it takes no room on the disk.
        file.write(b'\n{"tx_id": "B", "amount": 2}\n')
    running = cli.start(path, "--out", out)
    most = 0
    while running.poll() is None:
        most = max(most, memory(running.pid))
        time.sleep(0.05)
    assert running.returncode == 3, running.stderr.read() if running.stderr else ""
    assert [(row["tx_id"], row["line"]) for row in read(out)] == [("A", 1), ("B", 3)]
    assert most < 600e6


def memory(pid: int) -> int:
    """Bytes that a process and those below it have for themselves."""
    total = 0
    try:
        first = psutil.Process(pid)
        for process in (first, *first.children(recursive=True)):
            total += process.memory_full_info().uss
    except psutil.NoSuchProcess:
        pass
    return total


def test_what_is_there_is_not_overwritten_unless_told(cli: Cli, tmp_path: Path) -> None:
    path, out = tmp_path / "tx.csv", tmp_path / "o.csv"
    path.write_text("amount\n1\n")
    out.write_text("mine")
    code, said = cli(path, "--out", out)
    assert (code, out.read_text()) == (2, "mine")
    assert "is there already: name another, or say --overwrite" in said
    assert cli(path, "--out", out, "--overwrite")[0] == 0
    assert len(read(out)) == 1
    assert cli(path, "--out", tmp_path / "none" / "o.csv")[0] == 2
    assert cli(path, "--out", tmp_path / "o.txt")[0] == 2
    assert cli(path, "--out", tmp_path / "new.csv", "--resume")[0] == 2


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file past the size for which processes are started: some seconds of work."""
    path = tmp_path_factory.mktemp("long") / "tx.csv"
    with path.open("w", encoding="utf-8") as file:
        file.write("tx_id,amount,hour,category,note\n")
        for n in range(ROWS):
            note = "x" * 40
            file.write(f"T{n},{n % 5_000 + n / 1e6:.2f},{n % 24},food,{note}\n")
    return path


def wait_for_journal(out: Path, running: subprocess.Popen[bytes]) -> None:
    """Until something is done."""
    journal = out.with_name(f"{out.name}.unfinished") / "journal.json"
    give_up = time.monotonic() + 60
    while not journal.exists():
        assert running.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < give_up
        time.sleep(0.02)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether they end within ten seconds."""
    return not psutil.wait_procs(processes, 10)[1]


@pytest.mark.parametrize(
    ("signal_number", "suffix"), [(signal.SIGINT, "csv"), (signal.SIGKILL, "parquet")]
)
def test_a_run_that_is_stopped_goes_on(
    cli: Cli, long_file: Path, tmp_path: Path, signal_number: int, suffix: str
) -> None:
    out = tmp_path / f"o.{suffix}"
    running = cli.start(long_file, "--out", out)
    wait_for_journal(out, running)
    below = psutil.Process(running.pid).children(recursive=True)
    if signal_number == signal.SIGINT:
        os.killpg(running.pid, signal_number)  # As a terminal does.
    else:
        running.kill()
    _, said = running.communicate(timeout=60)
    assert gone(below)
    assert not out.exists()
    if signal_number == signal.SIGINT:
        assert running.returncode == 130
        assert said.decode().strip().endswith("Go on with --resume.")
        assert cli(long_file, "--out", out)[0] == 2
    assert cli(long_file, "--out", out, "--resume")[0] == 0
    found = read(out)
    assert [row["tx_id"] for row in found] == [f"T{n}" for n in range(ROWS)]
    assert not (tmp_path / f"o.{suffix}.unfinished").exists()


def test_it_does_not_go_on_with_another_input(cli: Cli, long_file: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "tx.csv", tmp_path / "o.csv"
    shutil.copyfile(long_file, path)
    running = cli.start(path, "--out", out)
    wait_for_journal(out, running)
    os.killpg(running.pid, signal.SIGINT)
    running.communicate(timeout=60)
    path.write_text("amount\n1\n")
    code, said = cli(path, "--out", out, "--resume")
    assert code == 2
    assert "was another one (its inputs differ)" in said


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        reason = "no right to mount a small file system: run as root"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_one_sentence_and_room_lets_it_go_on(
    cli: Cli, long_file: Path, small_disk: Path
) -> None:
    out = small_disk / "o.parquet"
    code, said = cli(long_file, "--out", out)
    assert (code, said.count("\n")) == (2, 1)
    assert "cannot be written: No space left on device" in said
    assert not out.exists()
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    assert cli(long_file, "--out", out, "--resume")[0] == 0
    assert pq.read_metadata(out).num_rows == ROWS


def test_memory_does_not_grow_with_the_file(cli: Cli, long_file: Path, tmp_path: Path) -> None:
    heading, _, rows = long_file.read_bytes().partition(b"\n")
    longer = tmp_path / "tx.csv"
    longer.write_bytes(heading + b"\n" + rows * 4)
    most = []
    for path in (long_file, longer):
        running = cli.start(path, "--out", tmp_path / f"{path.parent.name}.parquet")
        peak = 0
        while running.poll() is None:
            peak = max(peak, memory(running.pid))
            time.sleep(0.05)
        assert running.returncode == 0
        most.append(peak)
    print(f"{ROWS} rows {most[0]:,} bytes, four times as many {most[1]:,} bytes")  # noqa: T201
    assert most[1] < most[0] + 120e6
