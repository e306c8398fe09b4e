"""The project's own compose file, started under a name and on ports of its own."""

import json
import os
import re
import shutil
import socket
import subprocess
import uuid
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from testcontainers.compose import DockerCompose

from local.service import ROOT
from local.waiting import wait_until

DOCKER: Final = shutil.which("docker") or "docker"
SERVICES: Final = {"kafka", "kafka-ui", "postgresql", "schema", "producer", "consumer", "grafana"}
MONITORING: Final = {"prometheus"}  # with the profile of that name
PIPELINE: Final = ("kafka", "postgresql", "producer", "consumer")  # what runs without Grafana's and Kafka-UI's images
GROUP: Final = "heartbeat-consumer"
TOPIC: Final = "heartbeats"
PARTITIONS: Final = 6
Resolved = dict[str, dict[str, Any]]
RECOVERY_S: Final = 60.0  # a broker's restart (10 s), its clients' patience and a consumer's session (6 s), doubled


def free_ports(count: int) -> list[int]:
    """Find free ports of the loopback interface; all are held until all are found."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def docker(*arguments: str, environment: Mapping[str, str] | None = None, folder: Path = ROOT) -> str:
    """Run docker as a person would; its output. A failure shows what it said."""
    done = subprocess.run(
        [DOCKER, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


def resolve_file(folder: Path = ROOT, /, *files: str, **environment: str) -> dict[str, Any]:
    """Return the file, or all `files`, as compose understands it in a fresh clone, with only these variables set."""
    own = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "DOCKER_HOST"}}
    chosen = [f"--file={file}" for file in files]
    said = docker("compose", *chosen, "config", "--format", "json", environment=own | environment, folder=folder)
    resolved: dict[str, Any] = json.loads(said)
    return resolved


def resolve(**environment: str) -> Resolved:
    """Return every service as compose understands it in a fresh clone, with only these variables set."""
    services: Resolved = resolve_file(**environment)["services"]
    return services


def stack_environment() -> dict[str, str]:
    """Return a stack's environment: a name, free ports, and passwords that would show any mistake in quoting."""
    kafka, postgresql, kafka_ui, grafana, prometheus = map(str, free_ports(5))
    return {
        "COMPOSE_PROJECT_NAME": f"heartbeat-e2e-{uuid.uuid4().hex[:8]}",
        "KAFKA_PORT": kafka,
        "POSTGRESQL_PORT": postgresql,
        "KAFKA_UI_PORT": kafka_ui,
        "GRAFANA_PORT": grafana,
        "PROMETHEUS_PORT": prometheus,
        "POSTGRESQL_PASSWORD": 'owner\'s "pass word"',
        "POSTGRESQL_CONSUMER_PASSWORD": 'consumer\'s "pass\\word"',
        "GRAFANA_POSTGRESQL_PASSWORD": "reader's $word; --",
        "HEARTBEAT_PRODUCER__EPISODES_PER_HOUR": "0",  # a silent customer would have no row in a second
    }


class Stack:
    """The running system, as a person sees it: docker compose, psql's port, Kafka's port."""

    healthy_after_s: float

    def __init__(self) -> None:
        self._compose = DockerCompose(ROOT, build=True, services=list(PIPELINE))

    def compose(self, *arguments: str) -> str:
        """Run `docker compose` with these arguments; its output."""
        return docker("compose", *arguments)

    def start(self) -> None:
        """Run `docker compose up --build --wait` for the pipeline; return when it is healthy."""
        self._compose.start()

    def remove(self) -> None:
        """Leave nothing of the stack behind: no container, network, volume or image."""
        self.compose("down", "--volumes", "--remove-orphans", "--rmi", "local", "--timeout", "5")

    def remove_volume(self, name: str) -> None:
        """Remove a volume by its name in the compose file; nothing may use it."""
        docker("volume", "rm", f"{os.environ['COMPOSE_PROJECT_NAME']}_{name}")

    def run_in(self, service: str, *command: str) -> str:
        """Run a command in a service's container; its output. A failure raises."""
        return self._compose.exec_in_container(list(command), service)[0]

    def verify(self) -> str:
        """Let the consumer count the rows against the ledger and Kafka, as a person would; its last line."""
        return self.run_in("consumer", "python", "-m", "consumer", "verify", "--full").splitlines()[-1]

    def events(self, service: str, name: str) -> list[dict[str, Any]]:
        """Return the events of this name that a service has logged."""
        lines = self.compose("logs", "--no-log-prefix", service).splitlines()
        events = [json.loads(line[line.index("{") :]) for line in lines if line.endswith("}")]  # behind an escape
        return [event for event in events if event["event"] == name]

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers."""
        return self.compose("ps", "--quiet", service).split()

    def health(self, service: str) -> str:
        """Say what docker thinks of a service's only container."""
        (container,) = self.containers(service)
        return docker("inspect", "--format", "{{.State.Health.Status}}", container)

    def connect(self, role: str = "POSTGRESQL", password: str | None = None) -> psycopg.Connection:
        """Connect from the host as the role whose name and password .env calls so."""
        names = {**_dotenv(), **os.environ}
        return psycopg.connect(
            host="localhost",
            port=names["POSTGRESQL_PORT"],
            dbname=names["POSTGRESQL_DATABASE"],
            user=names[f"{role}_USERNAME"],
            password=password or names[f"{role}_PASSWORD"],
            autocommit=True,
            connect_timeout=5,
        )

    def query(self, statement: str, *arguments: object) -> list[tuple[Any, ...]]:
        """Ask the database, as its owner."""
        with self.connect() as connection:
            return connection.execute(statement.encode(), arguments or None).fetchall()

    def rows(self) -> int:
        """Count the heartbeats in the table."""
        return int(self.query("SELECT count(*) FROM heartbeats")[0][0])

    def newest(self) -> datetime | None:
        """Return the newest heartbeat's timestamp."""
        newest: datetime | None = self.query('SELECT max("timestamp") FROM heartbeats')[0][0]
        return newest

    def bootstrap_servers(self) -> str:
        """Return the address that a person uses outside of compose."""
        return f"localhost:{os.environ['KAFKA_PORT']}"

    def kafka_records(self) -> int:
        """Count what Kafka holds, from outside of compose."""
        client = Consumer({"bootstrap.servers": self.bootstrap_servers(), "group.id": "e2e"})
        try:
            ranges = [client.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=10) for p in range(PARTITIONS)]
        finally:
            client.close()
        return sum(high - low for low, high in ranges)

    def partitions_by_member(self) -> list[int]:
        """Count each group member's partitions, as Kafka sees it."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap_servers()})
        group = admin.describe_consumer_groups([GROUP])[GROUP].result()
        return sorted(len(member.assignment.topic_partitions) for member in group.members)

    def wait_until_rows_flow(self, within_s: float = RECOVERY_S) -> None:
        """Return when a heartbeat taken from now on is in the table."""
        (now,) = self.query("SELECT clock_timestamp()")[0]
        wait_until(lambda: (self.newest() or now) > now, within_s, "a new heartbeat in the table")

    def assert_nothing_is_missing_or_twice(self) -> None:
        """Let the producer pause, then hold the table against Kafka and the ledger."""
        self.compose("stop", "producer")
        records = self.kafka_records()
        wait_until(lambda: self.rows() >= records, RECOVERY_S, f"{records} rows")
        ids, readings = self.query(
            'SELECT count(DISTINCT id), count(DISTINCT (customer_id, "timestamp")) FROM heartbeats'
        )[0]
        verified = self.verify()
        self.compose("start", "producer")

        assert self.query("SELECT count(*) FROM rejected_heartbeats") == [(0,)]
        assert ids == readings >= records
        assert verified.startswith("the ledger balances")
        assert re.search(
            rf"\b{ids} stored \+ 0 rejected \+ 0 skipped \+ 0 expired \+ 0 duplicates \+ 0 erased"
            r" .* Kafka holds 0 more",
            verified,
        )


def _dotenv() -> dict[str, str]:
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line))
