"""`python -m examples.real_heart CUSTOMER strap|FILE.csv [BROKERS]`: sends a real heart's rate as heartbeats."""

import asyncio
import csv
import json
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from confluent_kafka import Producer

# Source: Bluetooth SIG, "Heart Rate Service" and "GATT Specification Supplement", Heart Rate Measurement.
SERVICE, MEASUREMENT = (f"0000{number}-0000-1000-8000-00805f9b34fb" for number in ("180d", "2a37"))
NO_CONTACT = 0b100  # of bits 1 and 2: the strap detects contact, and there is none
SCAN_S = 30.0


def heart_rate(notification: bytes) -> int | None:
    """Return the beats per minute of a measurement; None while the strap has no contact to the skin."""
    flags = notification[0]
    if flags & 0b110 == NO_CONTACT:
        return None
    return int.from_bytes(notification[1:3] if flags & 1 else notification[1:2], "little") or None


async def from_strap() -> AsyncIterator[tuple[str, int]]:
    """Return what the first strap found measures, about once a second, until it is out of reach."""
    from bleak import BleakClient, BleakScanner  # noqa: PLC0415 - a file needs no Bluetooth

    strap = await BleakScanner.find_device_by_filter(lambda _, seen: SERVICE in seen.service_uuids, timeout=SCAN_S)
    if strap is None:
        sys.exit(f"found no chest strap within {SCAN_S:.0f} s\nHINT: Wear it, wet its contacts, close other apps.")
    measured: asyncio.Queue[bytes | None] = asyncio.Queue()
    async with BleakClient(strap, disconnected_callback=lambda _: measured.put_nowait(None)) as client:
        await client.start_notify(MEASUREMENT, lambda _, notification: measured.put_nowait(bytes(notification)))
        while (notification := await measured.get()) is not None:
            if bpm := heart_rate(notification):
                yield datetime.now(UTC).isoformat(), bpm


async def from_file(path: Path) -> AsyncIterator[tuple[str, int]]:
    """Return the rows of a CSV file with the columns timestamp (as in the event) and heart_rate."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield row["timestamp"], int(row["heart_rate"])


async def send(customer: str, source: str, brokers: str = "localhost:9094", topic: str = "heartbeats") -> None:
    """Send all that the source has."""
    producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "partitioner": "murmur2_random"})
    try:
        async for timestamp, bpm in from_strap() if source == "strap" else from_file(Path(source)):
            event = {"customer_id": customer, "timestamp": timestamp, "heart_rate": bpm}
            producer.produce(topic, json.dumps(event), customer)
            producer.poll(0)
    finally:
        producer.flush()


def main() -> None:
    """Send until the source ends, or until Ctrl-C."""
    if not sys.argv[2:]:
        sys.exit(__doc__)
    try:
        asyncio.run(send(*sys.argv[1:4]))
    except KeyboardInterrupt:
        pass
    except ImportError:
        sys.exit("cannot use Bluetooth: the package bleak is not installed\nHINT: python -m pip install bleak")
    except (OSError, KeyError, ValueError) as error:
        sys.exit(f"cannot read {sys.argv[2]}: {error}\nHINT: A file needs the columns timestamp and heart_rate.")


if __name__ == "__main__":
    main()
