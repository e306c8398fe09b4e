"""Two brokers: the first is the controller, too; the second is started, killed and started again as a test likes."""

from pathlib import Path

from local.kafka import KafkaServer, new_cluster_id
from local.ports import find_free_port


def two_brokers(folder: Path, **settings: str) -> tuple[KafkaServer, KafkaServer]:
    """Make them without starting them; `settings` are lines of the first one's server.properties."""
    first, second, controller = find_free_port(), find_free_port(), find_free_port()
    voters = {"controller.quorum.voters": f"1@127.0.0.1:{controller}"}
    listeners = f"PLAINTEXT://127.0.0.1:{first},CONTROLLER://127.0.0.1:{controller}"
    other = {"process.roles": "broker", "node.id": "2", "listeners": f"PLAINTEXT://127.0.0.1:{second}"}
    brokers = (
        KafkaServer(folder / "1", first, settings={**settings, **voters, "listeners": listeners}),
        KafkaServer(folder / "2", second, settings={**voters, **other}),
    )
    brokers[0].cluster_id = brokers[1].cluster_id = new_cluster_id()
    return brokers
