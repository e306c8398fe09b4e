"""Batches as they stand in the broker's files, to be damaged there."""

from pathlib import Path

from tests.pipeline import Row, Topic, encode


def send_batch(topic: Topic, rows: list[Row], *, codec: str = "none") -> None:
    """Send readings to partition 0 as one batch."""
    options: dict[str, str | int | bool] = {
        "compression.type": codec,
        "linger.ms": 60_000,  # until the flush
        "message.max.bytes": 50_000_000,
        "batch.size": 50_000_000,
        "batch.num.messages": 1_000_000,
        "queue.buffering.max.messages": 1_000_000,
    }
    producer = topic.producer(**options)
    for row in rows:
        producer.produce(topic.name, encode(row), row[0].encode(), 0)
    assert producer.flush(60) == 0


def log_of(topic: Topic) -> Path:
    """Return the file that holds partition 0; the broker reads it anew for each fetch."""
    return topic.server.data_dir / "logs" / f"{topic.name}-0" / f"{0:020}.log"


def batches(log: Path) -> list[tuple[int, int]]:
    """Return where each batch of a log begins, and its first offset."""
    data, found, at = log.read_bytes(), [], 0
    while at < len(data) and (length := int.from_bytes(data[at + 8 : at + 12])):
        found.append((at, int.from_bytes(data[at : at + 8])))
        at += 12 + length
    return found


def flip_bit(topic: Topic, first_offset: int, *, at: int) -> None:
    """Flip a bit of the batch that begins at an offset."""
    start = next(place for place, offset in batches(log_of(topic)) if offset == first_offset)
    with log_of(topic).open("r+b") as log:
        log.seek(start + at)
        old = log.read(1)[0]
        log.seek(start + at)
        log.write(bytes([old ^ 4]))
