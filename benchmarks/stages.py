"""
Where a consumer's CPU goes: each stage that a message passes, by itself, in one process, without PostgreSQL.

The best of three rounds: what disturbs a round only ever adds to it.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final

from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks.stack import PARTITIONS, Stack, readings, stack
from common.event import MAX_FUTURE
from common.kafka_options import OWN_OPTIONS
from common.runtime import prepare_for_batches
from consumer.reading import Reading
from contracts.heartbeats import HEARTBEATS
from store.batch import Batch, Slice
from store.rows import Encode
from store.validation import Decode

TOPIC: Final = "stages"
BATCH: Final = 10_000
ROUNDS: Final = 3


class OneByOne(Decode):
    """Validates every message alone, as if one of the slice were invalid."""

    def all(self, payloads: Sequence[bytes | None], appended_ms: Sequence[int]) -> None:  # noqa: ARG002
        """Leave it to be done one by one."""
        return


def fetch(running: Stack, rows: int) -> tuple[float, list[list[Message]]]:
    """Read the topic as the consumer does; return the CPU seconds, its client's threads included, and the batches."""
    consumer = Consumer({**OWN_OPTIONS, "bootstrap.servers": running.kafka.bootstrap_servers, "group.id": "stages"})
    before, batches, count = time.process_time(), [], 0
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    while count < rows:
        batches.append(consumer.consume(BATCH, 0.05))
        count += len(batches[-1])
    used = time.process_time() - before
    consumer.close()
    return used, batches


def slices(messages: list[Message]) -> list[Slice]:
    """Sort a batch by partition, and see that offset follows offset, as the consumer does."""
    parts: dict[int, Reading] = {}
    partition: int
    for partition, run in groupby(messages, Message.partition):  # type: ignore[assignment]  # a consumed message has a place
        taken = list(run)
        parts.setdefault(partition, Reading(taken[0].offset(), set())).take(taken)  # type: ignore[arg-type]  # as above
    return [Slice(p, part.expected - len(part.records), part.expected, part.records) for p, part in parts.items()]


def measure(running: Stack, rows: int) -> dict[str, float]:
    """Return the CPU microseconds a message of each stage."""
    running.make_topic(TOPIC, readings(rows, 1000))
    prepare_for_batches()
    fetched = min((fetch(running, rows) for _ in range(ROUNDS)), key=lambda found: found[0])
    batches = [batch for batch in fetched[1] if batch]
    sliced = [slices(batch) for batch in batches]
    payloads = [
        ([record.value() for record in part.records], [record.timestamp()[1] for record in part.records])
        for parts in sliced
        for part in parts
    ]
    decode, one_by_one = Decode(HEARTBEATS, MAX_FUTURE), OneByOne(HEARTBEATS, MAX_FUTURE)
    encode = Encode(HEARTBEATS)

    def write(parts: Sequence[Slice], validate: Decode) -> bytes:
        batch = Batch.of(parts, 1, validate)
        return encode(batch.row_ids, batch.columns)

    def best(stage: Callable[[], object]) -> float:
        used = []
        for _ in range(ROUNDS):
            before = time.process_time()
            stage()
            used.append(time.process_time() - before)
        return min(used) / rows * 1e6

    validate = best(lambda: [decode.all(*one) for one in payloads])
    whole = best(lambda: [write(parts, decode) for parts in sliced])
    return {
        "fetch: librdkafka unpacks, its Python client wraps": fetched[0] / rows * 1e6,
        "sort by partition, see that offset follows offset": best(lambda: [slices(batch) for batch in batches]),
        "validate: parse, check, read the time": validate,
        "take out of the message, write rows for COPY": whole - validate,
        "validate and write one by one, if one message of a slice is invalid": best(
            lambda: [write(parts, one_by_one) for parts in sliced]
        ),
    }


def table(found: dict[str, float], rows: int) -> str:
    """Return the figures in Markdown."""
    lines = [f"{rows:,} messages in batches of {BATCH:,}; CPU microseconds a message, the best of {ROUNDS} rounds."]
    lines += ["", "| stage | µs |", "| --- | ---: |", *(f"| {name} | {used:.2f} |" for name, used in found.items())]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000, help="messages (default: %(default)s)")
    given = parser.parse_args()
    with stack() as running:
        print(table(measure(running, given.rows), given.rows))


if __name__ == "__main__":
    main()
