"""Sends a reading a second: `python -m examples.oxygen.producer localhost:9094`, until Ctrl-C."""

import json
import random
import sys
import time
from datetime import UTC, datetime

from confluent_kafka import Producer


def reading(person: str) -> bytes:
    """Write one event."""
    event = {"person": person, "measured_at": datetime.now(UTC).isoformat(), "percent": random.uniform(92, 100)}
    return json.dumps({**event, "site": random.choice(["finger", "ear"]), "pulse_bpm": None}).encode()


def main() -> None:
    """Send until stopped."""
    producer = Producer({"bootstrap.servers": ",".join(sys.argv[1:]) or "localhost:9094", "enable.idempotence": True})
    try:
        while True:
            person = f"person-{random.randint(1, 10)}"
            producer.produce("oxygen", reading(person), person)
            producer.poll(1)
            time.sleep(1)
    except KeyboardInterrupt:
        producer.flush()


if __name__ == "__main__":
    main()
