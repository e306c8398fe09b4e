"""`python -m consumer`: store heartbeats; `verify`: prove the books; `replay`: judge the quarantine anew."""

import argparse
import gc
import sys
from datetime import timedelta
from pathlib import Path

import structlog

from common import runtime, telemetry
from common.settings import load, load_credentials
from common.topic import ensure_topic
from common.validation import decoder
from consumer import replay, verify
from consumer.kafka_consumer import KafkaSource
from consumer.maintenance import Maintenance
from consumer.postgres_store import PostgresStore
from consumer.worker import Worker

SERVICE = "consumer"


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m consumer", description="Stores Kafka's heartbeats in PostgreSQL.")
    parser.add_argument("--config", type=Path, default=Path("config.yml"), help="settings file (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help="store heartbeats until stopped (the default)")
    books = commands.add_parser("verify", help="prove the books: every offset is stored, rejected or skipped")
    books.add_argument("--full", action="store_true", help="count the rows by their ids (reads both tables whole)")
    again = commands.add_parser("replay", help="store quarantined messages that today's rules accept")
    again.add_argument("--dry-run", action="store_true", help="say what would happen, change nothing")
    again.add_argument("--reason", help="only messages quarantined for this reason, e.g. timestamp_future")
    given = parser.parse_args(arguments)
    if given.command == "replay":
        return runtime.run(SERVICE, lambda: judge_anew(given.config, reason=given.reason, dry_run=given.dry_run))
    if given.command == "verify":
        return runtime.run(SERVICE, lambda: check_books(given.config, full=given.full))
    return runtime.run(SERVICE, lambda: consume(given.config))


def check_books(config: Path, *, full: bool) -> int:
    """Print the books; 1 if they do not add up."""
    balanced = verify.check(load(config), load_credentials(), full=full, say=print)
    return 0 if balanced else 1


def judge_anew(config: Path, *, reason: str | None, dry_run: bool) -> int:
    """Move what is valid by now out of quarantine."""
    replay.replay(load(config), load_credentials(), reason=reason, dry_run=dry_run, say=print)
    return 0


def consume(config: Path) -> int:
    """Store heartbeats until a signal comes."""
    settings = load(config)
    credentials = load_credentials()
    runtime.configure_logging(settings.logging, service=SERVICE)
    stop = runtime.StopFlag()
    stop.listen()
    health = telemetry.Health()
    telemetry.serve(
        settings.consumer.metrics_host, settings.consumer.metrics_port, health, setting="consumer.metrics_port"
    )
    log = structlog.get_logger()
    log.info(
        "consumer started",
        topic=settings.kafka.topic,
        kafka=settings.kafka.bootstrap_servers,
        postgresql=f"{settings.postgresql.host}:{settings.postgresql.port}/{credentials.database}",
    )
    ensure_topic(settings.kafka, stop)
    worker = Worker(
        lambda before_revoke: KafkaSource(settings, before_revoke),
        [PostgresStore(settings, credentials) for _ in range(settings.consumer.connections)],
        decoder(timedelta(seconds=settings.consumer.max_future_s)),
        health,
    )
    prepare_interpreter()
    maintenance = Maintenance(settings, credentials)
    maintenance.start()
    try:
        worker.run(stop)
    finally:
        maintenance.stop()
    log.info("consumer stopped")
    return 0


def prepare_interpreter() -> None:
    """
    Set Python up for batches of ten thousand messages and a thread for each of them.

    By default the garbage collector goes through every message that waits each time 700 more are made, for a quarter of
    our CPU time, and finds nothing. And a writer whose socket has room again waits 5 ms for its turn. Figures:
    docs/performance.md.
    """
    gc.freeze()
    gc.set_threshold(100_000)
    sys.setswitchinterval(0.001)


if __name__ == "__main__":
    sys.exit(main())
