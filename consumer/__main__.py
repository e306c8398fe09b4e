"""`python -m consumer`: store heartbeats; `verify`: check the ledger; `replay`: validate the quarantine again."""

import sys
from datetime import timedelta
from functools import partial
from pathlib import Path

from common import runtime
from common.command_line import service_parser
from common.settings import Settings, load, load_credentials
from consumer.kafka_consumer import KafkaSource
from consumer.worker import Worker
from contracts.load import contract_of
from store import replay, verify
from store.old_rows import OldRows
from store.postgres import PostgresStore
from store.service import storing
from store.validation import Decode

SERVICE = "consumer"


def main(arguments: list[str] | None = None) -> int:
    """Run the command on the command line; return the exit code."""
    parser = service_parser("python -m consumer", "Stores heartbeats from Kafka in PostgreSQL, each exactly once.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("run", help="store heartbeats until stopped (the default)")
    check = commands.add_parser("verify", help="check that each offset is accounted for exactly once")
    check.add_argument("--full", action="store_true", help="also count the rows by their ids (reads both tables)")
    again = commands.add_parser("replay", help="store quarantined messages that the current rules accept")
    again.add_argument("--dry-run", action="store_true", help="print what would happen, without changes")
    again.add_argument("--reason", help="only messages quarantined for this reason, e.g. timestamp_future")
    given = parser.parse_args(arguments)
    if given.command == "replay":
        command = partial(replay_quarantine, given.config, reason=given.reason, dry_run=given.dry_run)
        return runtime.run(SERVICE, command, out=sys.stderr)
    if given.command == "verify":
        return runtime.run(SERVICE, partial(check_ledger, given.config, full=given.full), out=sys.stderr)
    return runtime.run(SERVICE, lambda: consume(given.config))


def check_ledger(config: Path, *, full: bool) -> int:
    """Print the ledger; return 1 if it does not balance."""
    balanced = verify.check(load_for_command(config), load_credentials(), full=full, say=print)
    return 0 if balanced else 1


def replay_quarantine(config: Path, *, reason: str | None, dry_run: bool) -> int:
    """Move messages that are valid now out of the quarantine."""
    replay.replay(load_for_command(config), load_credentials(), reason=reason, dry_run=dry_run, say=print)
    return 0


def load_for_command(config: Path) -> Settings:
    """Read the settings and configure the log, to stderr: stdout is for the command's results."""
    settings = load(config)
    runtime.configure_logging(settings.logging, service=SERVICE, out=sys.stderr)
    return settings


def consume(config: Path) -> int:
    """Store heartbeats until a signal comes."""
    with storing(SERVICE, config) as service:
        settings = service.settings
        old_rows = OldRows(settings.consumer.retention_days)
        worker = Worker(
            lambda before_revoke: KafkaSource(settings, before_revoke, service.events),
            [PostgresStore(settings, service.credentials, old_rows.add) for _ in range(settings.consumer.connections)],
            Decode(contract_of(settings.event), timedelta(seconds=settings.consumer.max_future_s)),
            health=service.health,
            lag=service.lag,
            events=service.events,
        )
        runtime.prepare_for_batches()
        worker.run(service.stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
