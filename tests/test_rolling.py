"""Rolling to a new model: promoted, packed, and put in the place of the old one under load."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import Trained, free_port
from containers import Platform, build
from registry_store import paydesk, train_a_worse_forest

pytest_plugins = ["image_fixtures", "registry_fixtures"]

NEXT = "localhost/paydesk-test:next"
CALLERS = 4


class Proxy:
    """nginx before one container at a time."""

    def __init__(self, folder: Path, behind: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._write(behind)
        command = shutil.which("nginx") or "/usr/sbin/nginx"
        if not Path(command).exists():
            message = "nginx is not here: apt-get install nginx-light"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        self._process = subprocess.Popen(
            [command, "-p", str(folder), "-e", "stderr", "-c", "nginx.conf"],
            stdin=subprocess.DEVNULL,
            stderr=(folder / "nginx.log").open("wb"),
        )

    def send_to(self, behind: str) -> None:
        """From now on requests go to this container; those under way end where they are."""
        self._write(behind)
        self._process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """Ends it."""
        self._process.terminate()
        self._process.wait(30)

    def _write(self, behind: str) -> None:
        paths = " ".join(
            f"{kind}_temp_path {kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        (self._folder / "nginx.conf").write_text(
            f"""daemon off; pid nginx.pid; events {{}}
http {{
    access_log off; {paths}
    upstream paydesk {{ server {behind.removeprefix("http://")}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{self.port};
        location / {{
            proxy_pass http://paydesk; proxy_http_version 1.1; proxy_set_header Connection "";
        }}
    }}
}}
""",
            encoding="utf-8",
        )


class Load:
    """Callers who score one transaction after the other; what each answer was, in order."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self.answers: list[tuple[int, str]] = []  # status, and the versions that decided
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(CALLERS)]

    def _call(self, caller: int) -> None:
        number = 0
        while not self._ended.is_set():
            number += 1
            tx = {"tx_id": f"roll-{caller}-{number}", "amount": 20.0}
            try:
                # A connection each, as from many clients.
                answer = httpx.post(f"{self._url}/score", json=tx, timeout=30)
                said = answer.json().get("model", answer.text)
                self.answers.append((answer.status_code, str(said)))
            except httpx.HTTPError as error:
                self.answers.append((0, repr(error)))
            time.sleep(0.005)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Under way until the block ends."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in self._threads:
                thread.join()


def test_a_new_model_takes_over_and_no_request_fails(
    platform: Platform, trained: Trained, copied: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{copied / 'mlflow.db'}"
    store = tmp_path / "bentoml"
    shutil.copytree(trained.bentoml_home, store)
    train_a_worse_forest(uri)
    forced = ("models", "promote", "risk", "2", "--force", "--why", "to see it roll")
    assert paydesk(*forced, "--tracking-uri", uri).returncode == 0
    build(Trained(copied, store), tmp_path / "home", NEXT)
    volume = platform.volume()
    anyone = {"PAYDESK_ACCESS": "anyone"}
    old = platform.start(volume=volume, settings=anyone)
    old.wait()
    proxy = Proxy(tmp_path, old.url)
    load = Load(proxy.url)
    try:
        with load.running():
            time.sleep(2)
            new = platform.start(volume=volume, settings=anyone, image=NEXT)
            new.wait()
            proxy.send_to(new.url)
            time.sleep(2)
            before = len(load.answers)
            assert old.stop() == 0
            time.sleep(1)
        failed = [answer for answer in load.answers if answer[0] != 200]
        assert failed == []
        versions = [version for _, version in load.answers]
        assert set(versions) == {"risk:1", "risk:2"}
        assert set(versions[before:]) == {"risk:2"}
        assert httpx.get(f"{proxy.url}/stats").json()["total"] == len(versions)
    finally:
        proxy.close()
