"""What reads the log may stop: requests are answered, lines are dropped and counted, it ends."""

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx
from conftest import ROOT, Trained, free_port

_SPEAKS = """
import logging, sys, threading, time
from paydesk.web import logs

logs.configure(logs.RequestLog())
began = time.monotonic()
for n in range(30_000):
    logging.getLogger("paydesk.test").info("line %d", n)
print(time.monotonic() - began, file=sys.stderr, flush=True)
if sys.stdin.readline():
    time.sleep(1)
    thread = threading.Thread(target=lambda: int("a secret"), name="worker")
    thread.start()
    thread.join()
    logging.getLogger("paydesk.test").info("%d", "no number")
    logging.getLogger("paydesk.test").info("the last word")
"""


def speaking() -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", _SPEAKS], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )


def test_a_reader_that_stalls_holds_up_nobody_who_logs() -> None:
    with speaking() as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        assert float(process.stderr.readline()) < 20
        process.stdin.write("go on\n")
        process.stdin.close()
        lines = [json.loads(line) for line in process.stdout]
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    dropped = sum(line.get("lines", 0) for line in lines)
    said = [line["message"] for line in lines if line.get("logger") == "paydesk.test"]
    assert dropped > 1_000
    assert len([text for text in said if text.startswith("line ")]) + dropped == 30_000
    assert said[-1] == "the last word"
    failed = next(line for line in lines if "exception" in line)
    assert failed["message"] == "The thread worker failed"
    assert failed["exception"] == ["builtins.ValueError"]
    assert "a secret" not in json.dumps(lines)
    assert any("could not be formatted" in line.get("message", "") for line in lines)


def test_a_process_ends_though_nobody_reads_its_log() -> None:
    with speaking() as process:
        assert process.stdin
        assert process.stderr
        process.stderr.readline()
        began = time.monotonic()
        process.stdin.close()
        assert process.wait(15) == 0
        assert time.monotonic() - began < 10


def test_a_service_answers_and_ends_though_nobody_reads_its_log(
    trained: Trained, tmp_path: Path
) -> None:
    port = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", "service:Paydesk.to_asgi"),
            *("--port", str(port), "--no-access-log"),
        ],
        cwd=ROOT,
        env={**trained.environment, "PAYDESK_HOME": str(tmp_path), "PAYDESK_ACCESS": "local"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            for _ in range(600):
                with suppress(httpx.TransportError):
                    if client.get("/readyz").status_code == 200:
                        break
                time.sleep(0.1)
            for _ in range(1_500):  # of which the pipe takes some 300 lines
                assert client.get("/nope").status_code == 404
                assert client.post("/score", content=b"{").status_code == 400
            for _ in range(100):  # a line of a logger each
                with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                    connection.sendall(b"no HTTP\r\n\r\n")
                    assert connection.recv(100).startswith(b"HTTP/1.1 400")
            assert client.post("/score", json={"amount": 1}).status_code == 200
        process.send_signal(signal.SIGTERM)
        # uvicorn hands the signal on to itself, after its clean end.
        assert process.wait(20) in {0, -signal.SIGTERM}
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
