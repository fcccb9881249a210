"""/score, one at a time: ours beside what a user would pick instead, and beside the limit.

    python -m benchmarks.score [PEER …]

Each server has one process that works, on core 0; the client is on core 1. All have the same
champion forest and are sent the same transactions. Ours also applies the rules, validates, and
answers only once the decision is on disk; the others do not. All servers are started first, and
measured in turn, round by round, the others stopped meanwhile: a machine's speed changes with the
minutes. It needs the models of `make serve`, wrk (Debian: apt-get install wrk) and a package
index: every peer has an environment of its own, kept in .paydesk/bench.
"""

import statistics
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import report
from benchmarks.load import Measured, closed_loop, need_wrk, open_loop
from benchmarks.servers import SCORE_PEERS, Server, allowed, champion, ours, peer
from paydesk.risk.forest import Forest

OURS = "Paydesk: rules, forest, decision log on disk"
ROUNDS = 5
WARM_S = 2
SECONDS = 4
RATES = (20, 200, 800)  # requests a second, of the open loop
OPEN_S = 5
_SHARE = 0.5  # of a core, a worker: two of them leave one to wrk
_MOST_LOAD = 0.7  # of what a server can answer; beyond, an open loop measures its queue


@dataclass
class Results:
    """What was measured of a server."""

    name: str
    rounds: list[Measured] = field(default_factory=list)
    open_loop: dict[int, Measured] = field(default_factory=dict)

    @property
    def middle(self) -> Measured:
        """The medians."""
        return Measured(
            statistics.median(one.rate for one in self.rounds),
            statistics.median(one.p50_ms for one in self.rounds),
            statistics.median(one.p99_ms for one in self.rounds),
        )


def main() -> None:
    """Measures ours and the peers that are named (all by default)."""
    need_wrk()
    asked = sys.argv[1:] or list(SCORE_PEERS)
    forest, native = champion("risk")
    environment = {"BENCH_FOREST": str(forest), "BENCH_NATIVE": str(native / "model.skops")}
    results = {"paydesk": Results(OURS), **{n: Results(SCORE_PEERS[n].name) for n in asked}}
    with tempfile.TemporaryDirectory(dir=report.ROOT / ".paydesk") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        servers: dict[str, Server] = {}
        for name in results:
            if name == "paydesk":
                started = ours(folder, name, "/score")
            else:
                started = peer(name, SCORE_PEERS[name], environment, native, folder)
            servers[name] = stack.enter_context(started)
            closed_loop(servers[name], bodies(servers[name], forest), folder, WARM_S)
            servers[name].pause()
        for number in range(ROUNDS):
            for name, server in servers.items():
                server.resume()
                sent = bodies(server, forest)
                closed_loop(server, sent, folder, 1)
                results[name].rounds.append(closed_loop(server, sent, folder, SECONDS))
                server.pause()
                print(f"round {number + 1}, {name}: {results[name].rounds[-1]}", file=sys.stderr)
        for rate in RATES:
            for name, server in servers.items():
                if results[name].middle.rate * _MOST_LOAD < rate:
                    continue
                server.resume()
                found = open_loop(server, bodies(server, forest), rate, OPEN_S)
                results[name].open_loop[rate] = found
                server.pause()
        for server in servers.values():
            server.resume()
    workers = two_workers(forest)
    show(results, workers)


def two_workers(forest: Path) -> list[tuple[Measured, Measured]]:
    """One worker and two, in turn, each with a share of a core that leaves wrk one of its own."""
    with tempfile.TemporaryDirectory(dir=report.ROOT / ".paydesk") as scratch, ExitStack() as stack:
        folder = Path(scratch)
        one = stack.enter_context(ours(folder, "one", "/score"))
        two = stack.enter_context(ours(folder, "two", "/score", workers=2))
        stack.enter_context(allowed(one, _SHARE))
        stack.enter_context(allowed(two, 2 * _SHARE))
        sent = bodies(one, forest)
        found = []
        two.pause()
        for _ in range(ROUNDS):
            pair = []
            for server, other in ((one, two), (two, one)):
                other.pause()
                server.resume()
                closed_loop(server, sent, folder, 1, pinned=False)
                pair.append(closed_loop(server, sent, folder, SECONDS, pinned=False))
            found.append((pair[0], pair[1]))
        one.resume()
        return found


def bodies(server: Server, forest: Path) -> list[object]:
    """Transactions of every kind, in the form that the server takes."""
    encoder = Forest.load(forest).encoder
    kinds = ("food", "electronics", "fuel", "groceries", "travel")
    sent: list[object] = []
    for n in range(100):
        amount, kind, hour = 12.5 + 37 * n, kinds[n % 5], n % 24
        tx = {"tx_id": f"TX{n:04}", "amount": amount, "category": kind, "hour": hour}
        row = encoder.row(amount, hour, kind)[0].tolist()
        sent.append(
            {
                "flat": tx,
                "named": {"tx": tx},
                "listed": {"tx": [tx]},
                "frame": {"dataframe_split": {"columns": encoder.names, "data": [row]}},
            }[server.form]
        )
    return sent


def show(results: dict[str, Results], workers: list[tuple[Measured, Measured]]) -> None:
    """The tables, the file and the charts."""
    mine = results["paydesk"]
    limit = results.get("starlette")
    rows = []
    for found in sorted(results.values(), key=lambda one: -one.middle.rate):
        middle = found.middle
        times = statistics.median(
            a.rate / b.rate for a, b in zip(mine.rounds, found.rounds, strict=True)
        )
        share = middle.rate / limit.middle.rate if limit else 0
        rows.append(
            [
                *(found.name, f"{middle.rate:,.0f}", f"{middle.p50_ms:.2f}"),
                *(f"{middle.p99_ms:.2f}", f"{times:.2f} x", f"{share:.0%}"),
            ]
        )
    heading = ("server, one worker, 16 connections", "requests/s", "p50 ms", "p99 ms")
    report.table((*heading, "Paydesk is", "of bare Starlette"), rows)
    print()
    opened = []
    for found in results.values():
        cells = []
        for rate in RATES:
            at = found.open_loop.get(rate)
            cells.append(f"{at.p50_ms:.2f} / {at.p99_ms:.2f}" if at else "")
        opened.append([found.name, *cells])
    report.table(("p50 / p99 ms at a fixed rate", *(f"{rate}/s" for rate in RATES)), opened)
    gain = statistics.median(two.rate / one.rate for one, two in workers)
    print(
        f"\nTwo workers: {gain:.2f} times one, each with half a core, which leaves wrk a whole one."
    )
    report.keep("score", {"results": results, "workers": workers, "seconds": SECONDS})
    rates = {found.name: found.middle.rate for found in results.values()}
    report.bars("score", "/score, one worker on one core", "requests a second", rates, OURS)
    low = RATES[0]
    late = {f.name: f.open_loop[low].p99_ms for f in results.values() if low in f.open_loop}
    title = f"/score, p99 at {low} requests a second"
    report.bars("score-latency", title, "milliseconds", late, OURS)


if __name__ == "__main__":
    main()
