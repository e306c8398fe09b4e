"""Validates quarantined messages again: those that the current rules accept move to their table, each exactly once."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple

from psycopg import Connection
from psycopg import errors as pg

from common.errors import OutageError, StoppedError
from common.progress import progress
from common.settings import Credentials, Settings
from contracts.contract import Contract
from contracts.load import contract_of
from store.insert import CHECK_NOW, copy_rows, copy_statement
from store.postgres_errors import REFUSALS, is_taken_id
from store.reasons import Reason
from store.rows import Encode
from store.session import Session
from store.table import check_table
from store.validation import Decode, Event

CHUNK: Final = 1000  # messages in one transaction, arbitrary
CHUNK_BYTES: Final = 16 * 1024 * 1024  # of payloads, before the last of them: bounds memory, whatever their size

# One chunk at a time across all replays; locking the rows instead would ask for the right to change the quarantine.
ONE_AT_A_TIME: Final = "SELECT rejected_turn()"
# A payload that was cut is no longer what its sender wrote. Older versions noted a sender's time (CreateTime) as
# appended_at, even seconds, 0 or -1. Kafka did not exist before 2011, so such a time is not a broker's: rejected_at is
# used instead, if it is later.
TAKE: Final = """
SELECT id, payload, (extract(epoch FROM reference_at) * 1000)::bigint
FROM (SELECT id, payload, payload_length, sum(payload_length::bigint) OVER (ORDER BY id) AS bytes,
             CASE WHEN appended_at < '2011-01-01 00:00:00+00' THEN greatest(appended_at, rejected_at)
                  ELSE appended_at END AS reference_at
      FROM (SELECT id, payload, payload_length, appended_at, rejected_at FROM rejected_heartbeats
            WHERE id > %(after)s AND payload IS NOT NULL AND length(payload) = payload_length
              AND id >> 56 NOT IN (SELECT generation FROM kafka_topics WHERE table_name <> %(table)s)
              AND (%(reason)s::text IS NULL OR reason = %(reason)s)
            ORDER BY id LIMIT %(messages)s) AS found) AS numbered
WHERE bytes - payload_length < %(bytes)s
ORDER BY id
"""
COUNT: Final = "SELECT count(*) FROM rejected_heartbeats WHERE %(reason)s::text IS NULL OR reason = %(reason)s"
# Another replay may have moved them since they were validated.
STILL_THERE: Final = "SELECT id FROM rejected_heartbeats WHERE id = ANY (%s) ORDER BY id"
RELEASE: Final = "SELECT release_rejected(%s::bigint[], %s)"
NOTE: Final = "INSERT INTO heartbeats_touched (minute) SELECT DISTINCT to_timestamp(60 * unnest(%s::bigint[]))"
# The ledger follows in the same transaction: what was rejected is stored now.
MOVE_IN_LEDGER: Final = """
UPDATE kafka_ledger AS ledger
SET stored = stored + moved.count, rejected = rejected - moved.count, replayed = replayed + moved.count
FROM (SELECT (place).generation, (place).partition, count(*)
      FROM (SELECT kafka_place(id) AS place FROM unnest(%s::bigint[]) AS id) AS places GROUP BY 1, 2) AS moved
WHERE ledger.generation = moved.generation AND ledger.partition = moved.partition
"""


class Taken(NamedTuple):
    """A quarantined message, and the time by which its timestamp counts as future."""

    row_id: int
    payload: bytes
    reference_ms: int


@dataclass
class Outcome:
    """How a replay ended, in messages."""

    moved: int = 0
    kept: Counter[str] = field(default_factory=Counter)


def replay(  # noqa: PLR0913 - where, what and how, by keyword
    settings: Settings,
    credentials: Credentials,
    *,
    reason: str | None,
    dry_run: bool,
    say: Callable[[str], None],
    as_json: bool = False,
) -> Outcome:
    """
    Validate the quarantine again.

    Args:
        settings: Where PostgreSQL is, and how far timestamps may be ahead.
        credentials: Who we are.
        reason: Only messages with this reason; None for all.
        dry_run: Say what would happen, and change nothing.
        say: Gets the summary's lines.
        as_json: Say one JSON object instead.
    Returns:
        What moved, and what was kept for which reason.
    Raises:
        OutageError, ConfigError: The table does not fit the contract, or the database does not answer; what was
            committed before stays so, and a second replay continues from there.
        StoppedError: Ctrl-C; the same holds.
    """
    session = Session(settings, credentials, "heartbeat-replay")
    contract = contract_of(settings.event)
    decode = Decode(contract, timedelta(seconds=settings.consumer.max_future_s))
    outcome = Outcome()
    after = -1
    try:
        session.run("replay the quarantine", partial(check_table, contract=contract))
        with progress("replay", session.run("count the quarantine", partial(_count, reason=reason))) as advance:
            while taken := session.run(
                "read the quarantine", partial(_take, after=after, reason=reason, table=contract.table)
            ):
                after = taken[-1].row_id
                good, kept = _validate(taken, decode)  # outside of a transaction, which would hold the lock meanwhile
                moved, refused = session.run(
                    "replay the quarantine", partial(_move, contract=contract, good=good, dry_run=dry_run)
                )
                outcome.moved += len(moved)
                outcome.kept += kept + refused
                advance(len(taken))
    except KeyboardInterrupt:
        raise StoppedError(
            f"replay stopped: {0 if dry_run else outcome.moved} messages moved to {contract.table} so far",
            hint="They stay there. Run it again to move the rest.",
        ) from None
    finally:
        session.close()
    if as_json:
        say(json.dumps({"dry_run": dry_run, "moved": outcome.moved, "kept": outcome.kept}))
        return outcome
    say(f"{outcome.moved} messages {'would move' if dry_run else 'moved'} to {contract.table}")
    for why, count in outcome.kept.most_common():
        say(f"{count} stay in quarantine: {why}")
    return outcome


def _count(connection: Connection, reason: str | None) -> int:
    (count,) = connection.execute(COUNT, {"reason": reason}).fetchone() or (0,)
    return int(count)


def _take(connection: Connection, after: int, reason: str | None, table: str) -> list[Taken]:
    given = {"after": after, "reason": reason, "table": table, "messages": CHUNK, "bytes": CHUNK_BYTES}
    # In binary, a payload takes half of the memory that its hexadecimal text takes.
    return [Taken(*row) for row in connection.execute(TAKE, given, binary=True)]


def _validate(taken: Sequence[Taken], decode: Decode) -> tuple[dict[int, Event], Counter[str]]:
    good: dict[int, Event] = {}
    kept: Counter[str] = Counter()
    for row_id, payload, reference_ms in taken:
        event = decode(payload, reference_ms)
        if isinstance(event, str):
            kept[event] += 1
        else:
            good[row_id] = event
    return good, kept


def _move(
    connection: Connection, contract: Contract, good: Mapping[int, Event], *, dry_run: bool
) -> tuple[list[int], Counter[str]]:
    """Move events in one transaction; the ids of those that moved, and why PostgreSQL refused the others."""
    encode = Encode(contract)
    copy_events = copy_statement(contract, encode)
    moved: list[int] = []
    kept: Counter[str] = Counter()
    with connection.transaction(force_rollback=dry_run):
        connection.execute(ONE_AT_A_TIME)
        for (row_id,) in connection.execute(STILL_THERE, (list(good),)).fetchall():
            try:
                with connection.transaction():
                    encoded = encode([row_id], [[value] for value in good[row_id]])
                    copy_rows(connection, copy_events, encoded, 1)
                    connection.execute(CHECK_NOW)
            except REFUSALS as error:
                # A duplicate stays: no row proves to release_rejected() that the message may be deleted.
                is_unique = contract.unique and isinstance(error, pg.UniqueViolation)
                is_duplicate = is_unique and not is_taken_id(connection, error)
                kept["duplicate" if is_duplicate else f"{Reason.REFUSED}: {error.sqlstate}"] += 1
            else:
                moved.append(row_id)
        if connection.execute(RELEASE, (moved, contract.table)).fetchone() != (len(moved),):
            raise OutageError(
                "cannot replay the quarantine: messages vanished from it meanwhile",
                hint="Retention dropped them at this moment; run the replay again.",
            )
        connection.execute(MOVE_IN_LEDGER, (moved,))
        if contract.maintained:
            times_us = [good[row_id][contract.time_column] for row_id in moved]
            connection.execute(NOTE, ([time_us // 60_000_000 for time_us in times_us],))
    return moved, kept
