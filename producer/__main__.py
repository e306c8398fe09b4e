"""`python -m producer`: send every customer's heart rate once per interval, until stopped."""

import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path

import structlog

from common import runtime
from common.command_line import service_parser
from common.errors import HeartbeatError, OutageError
from common.settings import load
from common.topic import ensure_topic
from producer.data_generator import HeartRates
from producer.encoding import Encoder
from producer.episodes import EpisodicRates
from producer.kafka_producer import KafkaSender
from producer.report import SendReport
from producer.schedule import Schedule
from producer.topic_watch import TopicWatch

SERVICE = "producer"
MOST_AT_ONCE = 2_000  # readings between two looks at the clock and the acknowledgements, arbitrary
QUEUE_FULL_S = 0.05  # wait for acknowledgements when the queue has no room


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for and return the exit code."""
    parser = service_parser("python -m producer", "Sends synthetic heart rates to Kafka.")
    given = parser.parse_args(arguments)
    return runtime.run(SERVICE, lambda: produce(given.config))


def produce(config: Path) -> int:
    """
    Send until a signal comes, and return the exit code.

    Raises:
        OutageError: Some messages could not be delivered before the end.
        HeartbeatError: The client cannot continue without risking the order or a second copy.
    """
    settings = load(config)
    own = settings.producer
    stop, health = runtime.begin(SERVICE, settings.logging, own, "producer")
    log = structlog.get_logger()
    seed = secrets.randbits(32) if own.seed is None else own.seed
    log.info(
        "service started",
        topic=settings.kafka.topic,
        kafka=settings.kafka.bootstrap_servers,
        customers=own.customers,
        interval_s=own.interval_s,
        seed=seed,
        episodes_per_hour=own.episodes_per_hour,
    )
    watch = TopicWatch(settings.kafka, stop, ensure_topic(settings.kafka, stop))
    sender = KafkaSender(settings)
    report = SendReport(sender, health, on_outage=watch.look)
    people = EpisodicRates(HeartRates(own.customers, own.interval_s, seed), seed, own.customers, own.episodes_per_hour)
    encoder = Encoder(own.customers)
    schedule = Schedule(own.customers, own.interval_s)
    runtime.prepare_for_batches()
    while not stop.is_set() and not sender.fatal_error:
        first, last, skipped = schedule.due(0 if sender.is_full else MOST_AT_ONCE)
        report.skipped(skipped)
        if last > first:
            at = datetime.now(UTC)
            rates_bpm, silent = people.read(first, last, at)
            messages = encoder.encode(first, rates_bpm.tolist(), at)
            for index in silent:
                del messages[index]
            sender.send(messages)
        sender.poll(QUEUE_FULL_S if sender.is_full else 0)
        if watch.wants_new_client(is_stuck=report.is_stuck):
            sender.renew()
        report.tick()
        stop.wait(schedule.wait_s())
    undelivered = sender.finish(own.flush_timeout_s)
    report.flush()
    log.info(
        "service stopped",
        sent=sender.delivered,
        undelivered=sender.undelivered.total(),
        skipped=report.skipped_total,
    )
    if sender.fatal_error:
        raise HeartbeatError(
            f"cannot continue sending to {settings.kafka.topic}: {sender.fatal_error}",
            hint="Start the producer again; if it happens again, read the broker's log.",
        )
    if undelivered:
        raise OutageError(
            f"cannot deliver {undelivered} messages within {own.flush_timeout_s:g} s of the stop",
            hint="The broker was away or slow; HEARTBEAT_PRODUCER__FLUSH_TIMEOUT_S sets a longer wait.",
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
