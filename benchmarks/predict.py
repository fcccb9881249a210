"""/predict: the whole reading of an e-mail, beside sklearn-crfsuite behind Flask.

    python -m benchmarks.predict

Both have the same tokens, features and CRF, are sent the same held-out mail by 16 connections, and
work on one core, in turn. The peer answers with the spans that the tags spell. Ours also weighs who
pays whom, which sum, and how sure it is, and normalises the values. It needs the models of
`make serve`, wrk and a package index.
"""

import statistics
import tempfile
from pathlib import Path

from benchmarks import report
from benchmarks.load import closed_loop, need_wrk
from benchmarks.servers import PREDICT_PEER, ROOT, champion, ours, peer
from training.markup import load_marked
from training.train_entities import HELD_OUT

OURS = "Paydesk: the whole form"
ROUNDS = 5
SECONDS = 4


def main() -> None:
    """Measures both, round by round."""
    need_wrk()
    _, native = champion("entities")
    bodies = [{"email": mail.text} for mail in load_marked(HELD_OUT)]
    environment = {"BENCH_NATIVE": str(native / "model.skops"), "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory(dir=ROOT / ".paydesk") as scratch:
        folder = Path(scratch)
        with (
            ours(folder, "paydesk", "/predict") as mine,
            peer("flask_crfsuite", PREDICT_PEER, environment, native, folder) as other,
        ):
            servers = {OURS: mine, PREDICT_PEER.name: other}
            rounds: dict[str, list[float]] = {name: [] for name in servers}
            other.pause()
            for _ in range(ROUNDS):
                for name, server in servers.items():
                    server.resume()
                    closed_loop(server, bodies, folder, 1)
                    rounds[name].append(closed_loop(server, bodies, folder, SECONDS).rate)
                    server.pause()
    rates = {name: statistics.median(found) for name, found in rounds.items()}
    times = statistics.median(a / b for a, b in zip(*rounds.values(), strict=True))
    rows = [[name, f"{rate:,.0f}", f"{rate / rates[OURS]:.2f}"] for name, rate in rates.items()]
    report.table(("server, one core", "mails/s", "of Paydesk"), rows)
    print(f"\nPaydesk is {times:.2f} times the peer.")
    report.keep("predict", {"mails a second": rounds, "times": times})
    report.bars("predict", "/predict, one core", "mails a second", rates, OURS)


if __name__ == "__main__":
    main()
