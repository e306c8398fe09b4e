"""Sends an order a second, each twice: `python -m examples.orders.producer localhost:9094`, until Ctrl-C."""

import json
import random
import sys
import time
import uuid
from datetime import UTC, datetime

from confluent_kafka import Producer


def order(order_id: str) -> bytes:
    """Write one event."""
    lines = [{"article": f"A-{random.randint(1, 99)}", "count": 1, "price_cents": 250} for _ in range(2)]
    event = {"order_id": order_id, "ordered_at": datetime.now(UTC).isoformat(), "lines": lines}
    return json.dumps({**event, "total_cents": 500, "coupon": "SPRING"}).encode()


def main() -> None:
    """Send until stopped."""
    producer = Producer({"bootstrap.servers": ",".join(sys.argv[1:]) or "localhost:9094", "enable.idempotence": True})
    try:
        while True:
            order_id = str(uuid.uuid4())
            event = order(order_id)
            for _ in range(2):
                producer.produce("orders", event, order_id)
            producer.poll(1)
            time.sleep(1)
    except KeyboardInterrupt:
        producer.flush()


if __name__ == "__main__":
    main()
