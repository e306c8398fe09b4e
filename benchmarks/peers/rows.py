"""`python -m benchmarks.peers.rows`: the consumer of the tutorials, which stores one message after the other."""

import json

import psycopg
from confluent_kafka import Consumer

from benchmarks.peers.java import Place

INSERT = 'INSERT INTO heartbeats (customer_id, "timestamp", heart_rate) VALUES (%s, %s, %s)'


def main() -> None:
    """Poll, parse, insert, commit, for ever."""
    place = Place.of_environment()
    consumer = Consumer(
        {
            "bootstrap.servers": place.bootstrap_servers,
            "group.id": place.group_id,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([place.topic])
    with psycopg.connect(
        host=place.host, port=place.port, dbname=place.database, user=place.username, password=place.password
    ) as connection:
        while True:
            message = consumer.poll(1.0)
            if message is None or message.error() or (value := message.value()) is None:
                continue
            event = json.loads(value)
            connection.execute(INSERT, [event["customer_id"], event["timestamp"], event["heart_rate"]])
            connection.commit()


if __name__ == "__main__":
    main()
