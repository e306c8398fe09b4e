"""Three real Apache Kafka brokers on loopback: any one of them may be lost, with its disk."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from local.kafka import KafkaServer, new_cluster_id
from local.ports import HOST, find_free_port

BROKERS: Final = 3
# Kafka's own topics have as many copies as the events.
REPLICATION: Final = {
    f"{topic}.{setting}": value
    for topic in ("share.coordinator.state.topic", "transaction.state.log")
    for setting, value in (("replication.factor", "3"), ("min.isr", "2"))
} | {"offsets.topic.replication.factor": "3"}


class KafkaCluster:
    """
    Three brokers, each of them a controller, too.

    Args:
        folder: Empty; each broker gets a folder of its own in it.
    """

    def __init__(self, folder: Path) -> None:
        nodes = range(1, BROKERS + 1)
        clients, controllers = ({node: find_free_port() for node in nodes} for _ in range(2))
        voters = ",".join(f"{node}@{HOST}:{port}" for node, port in controllers.items())
        cluster_id = new_cluster_id()
        self.brokers = []
        for node, port in clients.items():
            settings = {
                **REPLICATION,
                "node.id": str(node),
                "controller.quorum.voters": voters,
                "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controllers[node]}",
            }
            broker = KafkaServer(folder / f"kafka-{node}", port, settings=settings)
            broker.cluster_id = cluster_id
            self.brokers.append(broker)

    @property
    def bootstrap_servers(self) -> str:
        """Where clients find it: the addresses of all brokers."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start all brokers; end all, as a crash would, because nobody reads their data again."""
        try:
            self.start()
            yield
        finally:
            for broker in self.brokers:
                broker.kill()

    def start(self) -> None:
        """Start the brokers that do not run, all at once: a broker waits for the votes of another one."""
        with ThreadPoolExecutor(BROKERS) as starting:
            list(starting.map(KafkaServer.start, self.brokers))


def wipe(broker: KafkaServer) -> None:
    """Kill a broker and delete all that it has stored. Its next start is that of a new machine with its address."""
    broker.kill()
    shutil.rmtree(broker.data_dir)
