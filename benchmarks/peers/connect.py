"""
`python -m benchmarks.peers.connect`: Kafka Connect with Debezium's JDBC sink, as a process of its own.

Two tasks, rows in UNNEST inserts of 10,000, which is also what a poll gives at most; bad messages are to go to a
dead-letter topic. Connect is newer than the broker here: only since 4.2 can its converter give plain JSON a schema,
without which the sink takes nothing.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks.peers.java import Place, become
from local.ports import HOST, find_free_port

PINS: Final = Path(__file__).with_name("connect_jars.txt")
DEAD: Final = "-dead"  # ends the name of the dead-letter topic
BATCH: Final = "10000"
SCHEMA: Final = {
    "type": "struct",
    "fields": [
        {"field": "customer_id", "type": "string"},
        {"field": "timestamp", "type": "string", "name": "io.debezium.time.ZonedTimestamp"},
        {"field": "heart_rate", "type": "int32"},
    ],
}


def worker(place: Place) -> dict[str, str]:
    """Return the settings of Connect itself."""
    return {
        "bootstrap.servers": place.bootstrap_servers,
        "listeners": f"http://{HOST}:{find_free_port()}",
        "offset.storage.file.filename": str(place.write("offsets", "")),
        "plugin.discovery": "service_load",
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
    }


def connector(place: Place) -> dict[str, str]:
    """Return the settings of the sink."""
    return {
        "name": place.group_id,
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "topics": place.topic,
        "tasks.max": "2",
        "connection.url": place.jdbc_url,
        "connection.username": place.username,
        "connection.password": place.password,
        "collection.name.format": "heartbeats",
        "insert.mode": "insert",
        "primary.key.mode": "none",
        "schema.evolution": "none",
        "quote.identifiers": "true",
        "dialect.postgres.unnest.insert.enabled": "true",
        "batch.size": BATCH,
        "consumer.override.max.poll.records": BATCH,
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "true",
        "value.converter.schema.content": json.dumps(SCHEMA),
        "errors.tolerance": "all",
        "errors.deadletterqueue.topic.name": f"{place.topic}{DEAD}",
        "errors.deadletterqueue.topic.replication.factor": "1",
    }


def properties(settings: Mapping[str, str]) -> str:
    """Return settings as the lines of a properties file."""
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def main() -> None:
    """Become Connect."""
    place = Place.of_environment()
    files = [
        place.write("worker.properties", properties(worker(place))),
        place.write("connector.properties", properties(connector(place))),
    ]
    become(PINS, "org.apache.kafka.connect.cli.ConnectStandalone", list(map(str, files)))


if __name__ == "__main__":
    main()
