"""The container image and its containers, as a platform runs them: with every restriction."""

import json
import os
import resource
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

import httpx
import pytest
from conftest import ROOT, Trained, free_port

from deploy.image.base import LOCAL
from deploy.image.engine import Engine, EngineError

TAG = "localhost/paydesk-test:first"

_READY_S = 60.0
_LOCKED_DOWN = (
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop=ALL"),  # noqa: S108 (the container's)
    *("--security-opt", "no-new-privileges", "--memory", "512m", "--pids-limit", "128"),
)


def engine() -> Engine:
    """podman or docker; without either the test is skipped, and in CI it fails."""
    try:
        return Engine.find()
    except EngineError as error:
        message = f"{error} The tests of the image also need mmdebstrap."
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)


def build(trained: Trained, home: Path, tag: str) -> str:
    """Builds the image of the champions, as `make image` does; its id."""
    for command in (["training.first"], ["deploy.image", "--tag", tag]):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            env={**trained.environment, "PAYDESK_HOME": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return Engine.find().ask("image", "inspect", "--format", "{{.Id}}", tag)


class Platform:
    """Runs containers of one image, and leaves none behind."""

    def __init__(self, engine: Engine, image: str) -> None:
        self.engine = engine
        self.image = image
        self._volumes: list[str] = []
        self._containers: list[Container] = []
        self._images = {image}
        # Nested machines do not let the engine raise its own limits.
        files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 20_000)
        self.limits = ("--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=4096:4096")

    def volume(self) -> str:
        """A new, empty volume."""
        name = f"paydesk-test-{uuid.uuid4().hex[:12]}"
        self.engine.ask("volume", "create", name)
        self._volumes.append(name)
        return name

    def start(
        self,
        *command: str,
        volume: str | None = None,
        settings: Mapping[str, str] | None = None,
        options: Iterable[str] = (),
        published: int | None = 3000,
        image: str = "",
    ) -> "Container":
        """Starts a container and does not wait."""
        port = free_port()
        name = f"paydesk-test-{uuid.uuid4().hex[:12]}"
        self._images.add(image or self.image)
        self.engine.ask(
            *("run", "--detach", "--name", name, *_LOCKED_DOWN, *self.limits, *options),
            *(("--volume", f"{volume}:/data") if volume else ()),
            *(("--publish", f"127.0.0.1:{port}:{published}") if published else ()),
            *(word for pair in (settings or {}).items() for word in ("--env", "=".join(pair))),
            *(image or self.image, *command),
        )
        started = Container(self.engine, name, port)
        self._containers.append(started)
        return started

    def ask(self, *command: str, volume: str) -> str:
        """What a command of the image prints to standard output."""
        return self.engine.ask(
            *("run", "--rm", *_LOCKED_DOWN, *self.limits, "--volume", f"{volume}:/data"),
            *(self.image, *command),
        )

    def key(self, volume: str) -> str:
        """A key that may do everything, in the database of the volume."""
        scopes = ("--scope=score", "--scope=read", "--scope=pay")
        return self.ask("keys", "new", "test", *scopes, volume=volume).splitlines()[-1].strip()

    def close(self) -> None:
        """Removes every container and volume, and the images."""
        for container in reversed(self._containers):
            container.remove()
        for volume in self._volumes:
            self.engine.ask("volume", "rm", "--force", volume)
        self.engine.ask("image", "rm", "--force", *self._images)


class Container:
    """A container that was started."""

    def __init__(self, engine: Engine, name: str, port: int) -> None:
        self._engine = engine
        self.name = name
        self.url = f"http://127.0.0.1:{port}"

    def wait(self) -> float:
        """Returns when it is ready, with the seconds since it was started."""
        began = time.monotonic()
        while time.monotonic() - began < _READY_S:
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return time.monotonic() - began
            except httpx.TransportError:
                if self._state()["Status"] == "exited":
                    break
                time.sleep(0.02)
        pytest.fail(f"the container did not become ready: {self.log()}")

    def code(self) -> int:
        """Its exit code, once it has ended by itself."""
        return int(self._engine.ask("wait", self.name))

    def stop(self) -> int:
        """SIGTERM, and SIGKILL ten seconds later; its exit code."""
        self._engine.ask("stop", "--time", "10", self.name)
        return int(str(self._state()["ExitCode"]))

    def kill(self) -> None:
        """SIGKILL."""
        self._engine.ask("kill", "--signal", "KILL", self.name)
        self._engine.ask("wait", self.name)

    def start(self) -> None:
        """Starts it again."""
        self._engine.ask("start", self.name)

    def log(self) -> str:
        """All that it wrote."""
        done = subprocess.run(
            [self._engine.command, "logs", self.name],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        return done.stdout

    def process(self) -> int:
        """Its first process, as this machine numbers it."""
        return int(str(self._state()["Pid"]))

    def client(self, key: str | None = None) -> httpx.Client:
        """An HTTP client of it."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30)

    def remove(self) -> None:
        """Ends it, if it runs, and removes it."""
        self._engine.ask("rm", "--force", "--time", "0", self.name)

    def _state(self) -> dict[str, object]:
        state: dict[str, object] = json.loads(self._engine.ask("inspect", self.name))[0]["State"]
        return state


def megabytes(engine: Engine, image: str) -> float:
    """The image's size without its base."""
    whole, below = (
        int(json.loads(engine.ask("image", "inspect", name))[0]["Size"]) for name in (image, LOCAL)
    )
    return (whole - below) / 1e6
