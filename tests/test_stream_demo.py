"""`make stream-demo`: everything on one machine, and nothing left of it."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from conftest import ROOT, Trained, free_port
from stream_broker import jars_of


def test_alerts_come_and_ctrl_c_leaves_nothing(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kafka").symlink_to(jars_of("kafka"))
    with (tmp_path / "said").open("wb") as said, (tmp_path / "told").open("wb") as told:
        demo = psutil.Popen(
            [
                *(sys.executable, "-m", "deploy.stream_demo", "--port", str(free_port())),
                *("--broker-port", str(free_port()), "--rate", "200"),
            ],
            cwd=ROOT,
            env={**trained.environment, "PAYDESK_HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            stdout=told,
            stderr=said,
            start_new_session=True,
        )
        give_up = time.monotonic() + 200
        while b"\nCRITICAL" not in (tmp_path / "told").read_bytes():
            assert demo.poll() is None, (tmp_path / "said").read_text("utf-8")
            assert time.monotonic() < give_up, (tmp_path / "said").read_text("utf-8")
            time.sleep(0.2)
        parts = demo.children(recursive=True)
        assert len(parts) >= 5
        demo.send_signal(signal.SIGINT)
        assert demo.wait(60) == 0
    assert psutil.wait_procs(parts, 5)[1] == []
    assert "Stopped." in (tmp_path / "said").read_text("utf-8")
