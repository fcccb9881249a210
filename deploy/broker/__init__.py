"""A real Kafka broker on this machine: its jars by Maven, each with its digest, and its process."""

import hashlib
import shutil
import subprocess
import time
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from paydesk.errors import PaydeskError

_HERE = Path(__file__).parent
_CLUSTER = "MkU3OEVBNTcwNTJENDM2Qk"
_READY_S = 60.0
_STOP_S = 30.0
_HEAP = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")


class BrokerError(PaydeskError):
    """The broker cannot be had or started; the message says what is missing."""


def jars(name: str, cache: Path) -> Path:
    """The folder of the jars of `name` (`kafka` or `spark`) below `cache`, fetched where missing.

    Raises BrokerError where Java or Maven is missing, Maven fails, or a jar is not the one meant.
    """
    for command, package in (("java", "openjdk-17-jre-headless"), ("mvn", "maven")):
        if shutil.which(command) is None:
            message = f"A Kafka broker needs {command}: apt-get install {package}"
            raise BrokerError(message)
    folder = cache.resolve() / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _fetch(_HERE / f"{name}.xml", folder)
    listed = (_HERE / f"{name}.sha256").read_text("utf-8").split()
    meant = dict(zip(listed[1::2], listed[::2], strict=True))
    found = {path.name: _digest(path) for path in folder.glob("*.jar")}
    if found != meant:
        wrong = sorted(jar for jar in found.keys() | meant if found.get(jar) != meant.get(jar))
        message = f"{folder} has other jars than {name}.sha256 names ({wrong[0]}): remove it."
        raise BrokerError(message)
    return folder


def _fetch(pom: Path, folder: Path) -> None:
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    done = subprocess.run(  # noqa: S603 (our own words)
        [
            *("mvn", "--quiet", "--batch-mode", "--file", str(pom)),
            f"-Dmaven.repo.local={folder.parent / 'm2'}",
            *("dependency:copy-dependencies", f"-DoutputDirectory={unfinished}"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-1000:]
        message = f"Maven could not fetch the jars of {pom.name}: {said}"
        raise BrokerError(message)
    unfinished.rename(folder)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Broker:
    """One broker, which is its own controller (KRaft), with its data in `home`."""

    def __init__(self, home: Path, classpath: Path, port: int, controller_port: int) -> None:
        self.address = f"127.0.0.1:{port}"
        self.log = home / "broker.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._command = ("java", *_HEAP, "-cp", f"{classpath}/*")
        self._port = port
        self._settings = home / "server.properties"
        home.mkdir(parents=True, exist_ok=True)
        controller = f"127.0.0.1:{controller_port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(home / "data"),
            "num.partitions": "4",
            # One broker is all there is.
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
        }
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        self._settings.write_text(text, encoding="utf-8")
        if not (home / "data").exists():
            self._format()

    def start(self) -> None:
        """Starts it, and returns when it takes connections. Raises BrokerError."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(  # noqa: S603 (our own words)
                [*self._command, "kafka.Kafka", str(self._settings)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        asking = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        process, give_up = self.process, time.monotonic() + _READY_S
        while time.monotonic() < give_up and process.poll() is None:
            try:
                asking.list_topics(timeout=1)
            except KafkaException:
                time.sleep(0.1)
            else:
                return
        self.kill()
        message = f"The broker did not start; its log is {self.log}."
        raise BrokerError(message)

    def stop(self) -> None:
        """Ends it as an operator does, where it runs."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Ends it as a power cut does, where it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _format(self) -> None:
        words = ("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(self._settings))
        done = subprocess.run(  # noqa: S603 (our own words)
            [*self._command, *words], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            message = f"The broker's folder could not be made: {done.stderr.strip()[-500:]}"
            raise BrokerError(message)
