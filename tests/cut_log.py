"""Cut Kafka's log: give the broker an older copy of its data, as a restored volume does."""

import shutil

from local.kafka import KafkaServer


def keep_copy(server: KafkaServer) -> None:
    """Copy the broker's data, stopped for a moment."""
    server.stop()
    shutil.copytree(server.data_dir, server.data_dir.with_name("copy"), ignore=shutil.ignore_patterns("tmp"))
    server.start()


def restore_copy(server: KafkaServer) -> None:
    """Replace the broker's data by older data: newer messages are gone."""
    server.stop()
    shutil.rmtree(server.data_dir / "logs")
    shutil.move(server.data_dir.with_name("copy") / "logs", server.data_dir / "logs")
    server.start()
