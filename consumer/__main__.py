"""`python -m consumer`: store heartbeats. Other commands check the ledger, validate or read again, or erase people."""

import argparse
import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from common import runtime
from common.command_line import service_parser
from common.settings import Settings, load, load_credentials
from consumer import reread
from consumer.kafka_consumer import KafkaSource
from consumer.worker import Worker
from contracts.load import contract_of
from store import forget, replay, verify
from store.old_rows import OldRows
from store.postgres import PostgresStore
from store.service import storing
from store.validation import Decode

SERVICE = "consumer"


def main(arguments: list[str] | None = None) -> int:
    """Run the command on the command line; return the exit code."""
    parser = service_parser("python -m consumer", "Stores heartbeats from Kafka in PostgreSQL, each exactly once.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, does: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")

    add("run", "store heartbeats until stopped (the default)")
    check = add("verify", "check that each offset is accounted for exactly once")
    check.add_argument("--full", action="store_true", help="also count the rows by their ids (reads both tables)")
    again = add("replay", "store quarantined messages that the current rules accept")
    again.add_argument("--dry-run", action="store_true", help="print what would happen, without changes")
    again.add_argument("--reason", help="only messages quarantined for this reason, e.g. timestamp_future")
    anew = add("reread", "store a range of Kafka's records again, by the current rules")
    anew.add_argument(
        "--from", dest="start", type=place, required=True, metavar="TIME|OFFSET",
        help="begin at Kafka's time of a record, e.g. 2026-11-22T09:00:00Z, or at an offset",
    )  # fmt: skip
    anew.add_argument(
        "--to", dest="end", type=place, metavar="TIME|OFFSET", help="end before it (default: all that was read)"
    )
    anew.add_argument("--partition", type=int, metavar="N", help="only this partition")
    anew.add_argument("--dry-run", action="store_true", help="print what would happen, without changes")
    gone = add("forget", "erase people, and do not store again what Kafka still holds of them")
    gone.add_argument(
        "people",
        nargs="*",
        metavar="CUSTOMER",
        help="a value of the key, e.g. CUST-000042; - reads one from each line of stdin",
    )
    gone.add_argument("--dry-run", action="store_true", help="count what would be erased, without changes")
    for command in (check, again, anew, gone):
        command.add_argument("--json", action="store_true", help="print one JSON object, for machines")
    given = parser.parse_args(arguments)
    if given.command in COMMANDS:
        return runtime.run(SERVICE, partial(COMMANDS[given.command], given), out=sys.stderr)
    return runtime.run(SERVICE, lambda: consume(given.config))


def place(text: str) -> reread.Place:
    """Return the offset or the time on the command line."""
    try:
        return reread.place(text)
    except ValueError:
        words = "it must be an offset, or a time with its zone such as 2026-11-22T09:00:00Z"
        raise argparse.ArgumentTypeError(words) from None


def check_ledger(given: argparse.Namespace) -> int:
    """Print the ledger; return 1 if it does not balance."""
    settings = load_for_command(given.config)
    return 0 if verify.check(settings, load_credentials(), full=given.full, as_json=given.json, say=print) else 1


def replay_quarantine(given: argparse.Namespace) -> int:
    """Move messages that are valid now out of the quarantine."""
    settings = load_for_command(given.config)
    replay.replay(
        settings, load_credentials(), reason=given.reason, dry_run=given.dry_run, as_json=given.json, say=print
    )
    return 0


def read_again(given: argparse.Namespace) -> int:
    """Replace what is stored of a range."""
    settings, wanted = load_for_command(given.config), reread.Wanted(given.start, given.end, given.partition)
    reread.reread(settings, load_credentials(), wanted, dry_run=given.dry_run, as_json=given.json, say=print)
    return 0


def forget_people(given: argparse.Namespace) -> int:
    """Erase people; the lines of a file may end with an empty one."""
    settings = load_for_command(given.config)
    lines = (sys.stdin.read().split("\n") if one == "-" else [one] for one in given.people)
    people = [person for some in lines for person in some if person]
    forget.forget(settings, load_credentials(), people, dry_run=given.dry_run, as_json=given.json, say=print)
    return 0


COMMANDS: Final = {
    "verify": check_ledger, "replay": replay_quarantine, "reread": read_again, "forget": forget_people,
}  # fmt: skip


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
