"""`python -m producer`: send every customer's heart rate once per interval, until stopped."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import structlog

from common import runtime, telemetry
from common.settings import load
from common.topic import ensure_topic
from producer.data_generator import HeartRates
from producer.encoding import Encoder
from producer.kafka_producer import KafkaSender
from producer.report import Report
from producer.schedule import Schedule

SERVICE = "producer"
MOST_AT_ONCE = 2_000  # readings between two looks at the clock and the acknowledgements, arbitrary
QUEUE_FULL_S = 0.05  # wait for acknowledgements when the queue has no room


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m producer", description="Sends synthetic heart rates to Kafka.")
    parser.add_argument("--config", type=Path, default=Path("config.yml"), help="settings file (default: %(default)s)")
    given = parser.parse_args(arguments)
    return runtime.run(SERVICE, lambda: produce(given.config))


def produce(config: Path) -> int:
    """Send until a signal comes; 1 if something could not be delivered in the end."""
    settings = load(config)
    own = settings.producer
    runtime.configure_logging(settings.logging, service=SERVICE)
    stop = runtime.StopFlag()
    stop.listen()
    health = telemetry.Health()
    telemetry.serve(own.metrics_host, own.metrics_port, health, setting="producer.metrics_port")
    log = structlog.get_logger()
    log.info(
        "producer started",
        topic=settings.kafka.topic,
        kafka=settings.kafka.bootstrap_servers,
        customers=own.customers,
        interval_s=own.interval_s,
    )
    ensure_topic(settings.kafka, stop)
    sender = KafkaSender(settings)
    report = Report(sender, health)
    rates, encoder = HeartRates(own.customers, own.interval_s, own.seed), Encoder(own.customers)
    schedule = Schedule(own.customers, own.interval_s)
    unsent = 0
    while not stop.is_set():
        first, last, skipped = schedule.due(MOST_AT_ONCE)
        if skipped:
            report.skipped(skipped)
        waiting = encoder.encode(first, rates.read(first, last), datetime.now(UTC)) if last > first else []
        while waiting and (waiting := sender.offer(waiting)):
            sender.poll(QUEUE_FULL_S)
            report.tick()
            if stop.is_set():
                unsent = len(waiting)
                break
        sender.poll(0)
        report.tick()
        if wait_s := schedule.wait_s():
            stop.wait(wait_s)
    began = time.monotonic()
    undelivered = unsent + sender.finish(own.flush_timeout_s)
    report.speak(max(time.monotonic() - began, 1.0))
    log.info("producer stopped", sent=sender.delivered, skipped=report.skipped_total, undelivered=undelivered)
    if undelivered:
        log.error(
            "cannot deliver what was under way when the producer stopped",
            messages=undelivered,
            within_s=own.flush_timeout_s,
            hint="The broker was away; HEARTBEAT_PRODUCER__FLUSH_TIMEOUT_S sets a longer wait.",
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
