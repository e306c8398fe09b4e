"""
`python -m benchmarks.peers.flink`: Flink SQL from Kafka to PostgreSQL, in a cluster within one process.

Flink is 2.0, the newest that the JDBC connector is made for. Parallelism 2, a checkpoint every 10 s, inserts of 5,000
rows; what a message that it cannot take does to it is left as Flink has it.
"""

from pathlib import Path
from typing import Final

from benchmarks.peers.java import Place, become

PINS: Final = Path(__file__).with_name("flink_jars.txt")
CONFIGURATION: Final = """\
execution.target: local
execution.checkpointing.interval: 10s
parallelism.default: 2
taskmanager.numberOfTaskSlots: 2
rest.address: 127.0.0.1
rest.bind-address: 127.0.0.1
table.dml-sync: true
table.local-time-zone: UTC
"""
# The sink has no type for a moment: it gets the UTC time, which Java, whose zone is UTC, takes for the moment it was.
JOB: Final = """\
CREATE TABLE messages (customer_id STRING, `timestamp` TIMESTAMP_LTZ(6), heart_rate INT) WITH (
    'connector' = 'kafka', 'topic' = '{place.topic}', 'properties.bootstrap.servers' = '{place.bootstrap_servers}',
    'properties.group.id' = '{place.group_id}', 'scan.startup.mode' = 'earliest-offset',
    'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601'
);
CREATE TABLE heartbeats (customer_id STRING, `timestamp` TIMESTAMP(6), heart_rate INT) WITH (
    'connector' = 'jdbc', 'url' = '{place.jdbc_url}', 'table-name' = 'heartbeats',
    'username' = '{place.username}', 'password' = '{place.password}',
    'sink.buffer-flush.max-rows' = '5000', 'sink.buffer-flush.interval' = '200ms', 'sink.parallelism' = '2'
);
INSERT INTO heartbeats SELECT customer_id, CAST(`timestamp` AS TIMESTAMP(6)), heart_rate FROM messages;
"""
OPENED: Final = ("java.lang", "java.net", "java.io", "java.nio", "java.text", "java.time", "java.util")


def main() -> None:
    """Become Flink."""
    place = Place.of_environment()
    configuration = place.write("config.yaml", CONFIGURATION)
    job = place.write("job.sql", JOB.format(place=place))
    flags = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in (*OPENED, "java.util.concurrent")]
    # It reads where its settings are from the environment alone.
    become(
        PINS,
        "org.apache.flink.table.client.SqlClient",
        ["embedded", "-f", str(job)],
        flags,
        {"FLINK_CONF_DIR": str(configuration.parent)},
    )


if __name__ == "__main__":
    main()
