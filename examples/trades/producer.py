"""Sends ten trades a second: `python -m examples.trades.producer localhost:9094`, until Ctrl-C."""

import json
import random
import sys
import time
from datetime import UTC, datetime, timedelta

from confluent_kafka import Producer


def trade(symbol: str) -> bytes:
    """Write one event."""
    now, fills = datetime.now(UTC), [random.randint(1, 100) for _ in range(random.randint(1, 5))]
    times = {"executed_at": now.isoformat(), "settles_at": (now + timedelta(days=2)).isoformat()}
    price_nano = random.randint(10**9, 10**12)
    return json.dumps(
        {"symbol": symbol, **times, "price_nano": price_nano, "quantity": sum(fills), "fills": fills}
    ).encode()


def main() -> None:
    """Send until stopped."""
    producer = Producer({"bootstrap.servers": ",".join(sys.argv[1:]) or "localhost:9094", "enable.idempotence": True})
    try:
        while True:
            symbol = random.choice(["ABC", "XYZ"])
            producer.produce("trades", trade(symbol), symbol)
            producer.poll(0)
            time.sleep(0.1)
    except KeyboardInterrupt:
        producer.flush()


if __name__ == "__main__":
    main()
