"""A real `mlflow server`, and a real proxy before it that refuses what a test says."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from conftest import free_port


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address; the store is in `folder`."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--workers", "1"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            # A service in this process may have named a folder of metrics, which is gone by now.
            env={
                **{name: value for name, value in os.environ.items() if "PROMETHEUS" not in name},
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                if httpx.get(f"{url}/health").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        yield url
    finally:
        os.killpg(process.pid, 15)
        process.wait(20)


@dataclass
class Gate:
    """Passes requests on, but answers `status` where one of `refused` is in the path."""

    upstream: str
    status: int = 403
    answer: str = "the gate is closed"
    refused: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def gate(upstream: str = "") -> Iterator[Gate]:
    """A proxy before `upstream`; without one it refuses everything."""
    closed = Gate(upstream, refused=[] if upstream else ["/"])

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self) -> None:
            self.raw_requestline = self.rfile.readline(65_537)
            if not self.raw_requestline or not self.parse_request():
                self.close_connection = True
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = closed.status, closed.answer.encode()
            if not any(part in self.path for part in closed.refused):
                passed = httpx.request(
                    self.command,
                    closed.upstream + self.path,
                    content=body,
                    headers={"Content-Type": self.headers.get("Content-Type", "")},
                    timeout=60,
                )
                status, content = passed.status_code, passed.content
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    closed.url = f"http://127.0.0.1:{server.server_port}"
    yield closed
    server.shutdown()
    server.server_close()
