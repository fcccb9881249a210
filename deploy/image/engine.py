"""podman or docker, whichever works here."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from paydesk.errors import PaydeskError

_LONGEST_S = 600


class EngineError(PaydeskError):
    """There is no container engine, or it refused; the message has its words."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine's command."""

    command: str

    @classmethod
    def find(cls) -> "Engine":
        """The first that answers. Raises EngineError."""
        for command in ("podman", "docker"):
            if shutil.which(command) and cls(command)._run("info").returncode == 0:
                return cls(command)
        message = (
            "Neither podman nor docker works here. Install one (Debian: apt-get install podman "
            "runc), or start docker's daemon; `podman info` and `docker info` say what is missing."
        )
        raise EngineError(message)

    def build(self, context: Path, containerfile: Path, *words: str) -> None:
        """Builds an image, without a trace of today's date."""
        # chroot: the RUN steps only compile, and a container of their own is what nested machines
        # refuse. podman cannot cut such a step off the network; docker can.
        own = (
            ("--isolation", "chroot", "--timestamp", "0", "--no-cache", "--layers")
            if self.command == "podman"
            else ("--no-cache", "--network", "none", "--build-arg", "SOURCE_DATE_EPOCH=0")
        )
        self.ask(
            *("build", "--quiet", *own, "--file", str(containerfile)),
            *words,
            str(context),
        )

    def ask(self, *words: str) -> str:
        """What the engine prints. Raises EngineError."""
        done = self._run(*words)
        if done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-2000:]
            message = f"`{self.command} {words[0]}` failed: {said}"
            raise EngineError(message)
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        """Whether the image is on this machine."""
        return self._run("image", "inspect", image).returncode == 0

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(  # noqa: S603 (our own words)
                [self.command, *words],
                capture_output=True,
                text=True,
                check=False,
                timeout=_LONGEST_S,
            )
        except subprocess.TimeoutExpired as error:
            message = f"`{self.command} {words[0]}` did not end within {_LONGEST_S} s. Try again."
            raise EngineError(message) from error
