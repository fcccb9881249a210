"""What a benchmark found: a Markdown table on standard output; JSON and a chart for the docs."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "performance"
_LIBRARIES = ("bentoml", "mlflow", "scikit-learn", "onnxruntime", "uvicorn", "sqlalchemy")


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints it; the first column is text, the others are numbers."""
    print(f"| {' | '.join(heading)} |")
    print(f"| --- |{' ---: |' * (len(heading) - 1)}")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def keep(name: str, found: Mapping[str, Any]) -> None:
    """Writes docs/performance/NAME.json, with the machine, the versions and the commit."""
    FOLDER.mkdir(exist_ok=True)
    told = {**found, "about": about()}
    text = json.dumps(told, indent=1, default=lambda one: one.__dict__)
    (FOLDER / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(f"Written: docs/performance/{name}.json", file=sys.stderr)


def about() -> dict[str, Any]:
    """Where and of what a figure is."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    return {
        "machine": f"{platform.platform()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _LIBRARIES},
        "commit": commit,
    }


def bars(name: str, title: str, unit: str, values: Mapping[str, float], ours: str) -> None:
    """Draws docs/performance/NAME.svg: a bar each, the longest first.

    Those whose label ends with `ours` have another colour.
    """
    FOLDER.mkdir(exist_ok=True)
    ordered = sorted(values.items(), key=lambda item: item[1])
    plt.rcParams["svg.hashsalt"] = "paydesk"
    figure, axes = plt.subplots(figsize=(9, 0.45 * len(ordered) + 1.2))
    colours = ["#0b6e4f" if label.endswith(ours) else "#9aa5b1" for label, _ in ordered]
    drawn = axes.barh([label for label, _ in ordered], [n for _, n in ordered], color=colours)
    axes.bar_label(drawn, [f"{n:,.3g}" if n < 100 else f"{n:,.0f}" for _, n in ordered], padding=3)
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    figure.tight_layout()
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
