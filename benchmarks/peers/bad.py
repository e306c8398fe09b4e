"""What one bad message among good ones does: to them, to those that come later, and what is left of it."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.peers.connect import DEAD
from benchmarks.peers.java import FOLDER
from benchmarks.peers.table import attempted, different, empty, repeated, stored
from benchmarks.stack import Stack, readings
from local.service import Service
from local.waiting import wait_until
from producer.encoding import Messages

GOOD, LATER = 2_000, 500  # neighbours of the bad message, half of them before it; good ones sent a while after
BAD: Final = {"no number": b'"high"', "out of range": b"999"}  # as heart rates; 999 is one for JSON, not for the table
START_S: Final = 30.0  # what a peer gets to start
EFFECT_S: Final = 10.0  # and to show what the message does to it, and then to go on


@dataclass(frozen=True)
class Outcome:
    """Good neighbours that were stored, rows that were stored again, what then happens, where the message is kept."""

    stored: int
    repeated: int
    then: str
    kept: str

    @property
    def stored_text(self) -> str:
        """Return what was stored, in words."""
        return f"{self.stored:,}" + (f", with {self.repeated:,} repetitions" if self.repeated else "")

    def __str__(self) -> str:
        return f"of {GOOD:,} stored: {self.stored_text}; {self.then}; the bad one is {self.kept}"


def meet(running: Stack, module: str, kind: str) -> Outcome:
    """Have a peer read 2,000 good messages with a bad one in their middle, all in one partition, then some more."""
    empty(running)
    topic = f"{module.rpartition('.')[2]}-{kind.replace(' ', '-')}"
    running.make_topic(topic, [good(1, GOOD // 2), bad(kind), good(2, GOOD // 2)], partitions=1)
    with running.start(module, topic, **{FOLDER: str(running.logs)}) as service:
        watch(running, service, GOOD, START_S, until_first=True)
        watch(running, service, GOOD, EFFECT_S)
        found = different(running)
        send(running, topic, good(3, LATER))
        watch(running, service, found + LATER, EFFECT_S)
        in_the_end, again = different(running), repeated(running)
        if service.process.poll() is not None:
            then = "it ends"
        else:
            then = "it goes on" if in_the_end >= found + LATER else "it gets no further; its process runs on"
        return Outcome(found, again, then, kept(running, topic))


def good(seed: int, count: int) -> Messages:
    """Return so many good messages of now."""
    return [message for block in readings(count, count, seed) for message in block]


def bad(kind: str) -> Messages:
    """Return a message whose heart rate is none."""
    message = good(0, 1)[0]
    head, _, _ = message["value"].rpartition(b" ")
    return [{**message, "value": head + b" " + BAD[kind] + b"}"}]


def send(running: Stack, topic: str, messages: Messages) -> None:
    """Send more to a topic that is there."""
    producer = Producer({"bootstrap.servers": running.kafka.bootstrap_servers})
    producer.produce_batch(topic, messages)
    producer.flush()


def watch(running: Stack, service: Service, rows: int, within_s: float, *, until_first: bool = False) -> None:
    """Wait until so many different rows are there, or (if so asked) any, or the peer ends, or the time is over."""

    def is_over() -> bool:
        is_first = until_first and (stored(running) or attempted(running)) > 0
        return service.process.poll() is not None or different(running) >= rows or is_first

    with suppress(TimeoutError):
        wait_until(is_over, within_s, every_s=0.25)


def kept(running: Stack, topic: str) -> str:
    """Return where the message can be found."""
    if running.connection.execute("SELECT FROM rejected_heartbeats").fetchone() is not None:
        return "in quarantine"
    consumer = Consumer({"bootstrap.servers": running.kafka.bootstrap_servers, "group.id": "peers"})
    dead = f"{topic}{DEAD}"
    try:
        if dead in consumer.list_topics(timeout=10).topics:
            _, end = consumer.get_watermark_offsets(TopicPartition(dead, 0), timeout=10)
            if end:
                return "in the dead-letter topic"
    finally:
        consumer.close()
    return "nowhere but in Kafka"
