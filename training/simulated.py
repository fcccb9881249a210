"""Simulated transactions as JSON Lines on standard output, with or without end.

    python -m training.simulated --rows 1000 --seed 7

`paydesk stream produce` reads them from here: the simulator needs pandas, Paydesk itself does not.
"""

import sys
from collections.abc import Iterator
from itertools import count, islice
from typing import Annotated

import orjson
import typer

from training.transactions import simulate

_FIELDS = ["tx_id", "timestamp", "customer_id", "store", "category", "amount"]


def main(
    rows: Annotated[int, typer.Option(min=0, help="How many; 0: without end.")] = 0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same transactions.")] = 7,
) -> None:
    """Writes a transaction a line, in order of time within each season of ninety days."""
    try:
        for line in islice(lines(seed), rows or None):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        sys.stderr.close()  # Nobody reads on; Python would say so at its end.


def lines(seed: int) -> Iterator[bytes]:
    """Without end: when a season of simulated transactions is over, the next seed's follows.

    Every tx_id is one of its own.
    """
    number = 0
    for season in count(seed):
        data = simulate(seed=season)[_FIELDS]
        data["timestamp"] = data["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S")
        for row in data.to_dict("records"):
            row["tx_id"] = f"TX{seed}-{number:09d}"
            number += 1
            yield orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    typer.run(main)
