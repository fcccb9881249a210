"""The commands that change a registry, each in a process of its own."""

import os
import subprocess
import sys

from conftest import ROOT


def paydesk(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The CLI in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "paydesk", *words],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "BENTOML_DO_NOT_TRACK": "True", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def train(script: str, uri: str, *words: str) -> None:
    """A training script in a process of its own."""
    command = [sys.executable, f"training/{script}.py", "--tracking-uri", uri, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def train_a_worse_forest(uri: str) -> None:
    """Five days of few customers to learn from: worse than the champion on any held-out data."""
    few = ("--customers", "300", "--stores", "60", "--days", "40", "--test-days", "8")
    train("train_risk", uri, *few, "--seed", "5", "--validation-days", "20", "--delay-days", "7")
