"""Quarantined messages get a second hearing: what today's rules accept moves to `heartbeats`, each exactly once."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Final

from psycopg import Connection
from psycopg import errors as pg

from common.errors import OutageError
from common.reasons import Reason
from common.settings import Credentials, Settings
from common.timestamps import EPOCH
from common.validation import Decode
from consumer.postgres_session import Session

CHUNK: Final = 1000  # messages in one transaction, arbitrary

# One chunk at a time across all replays; locking the rows instead would ask for the right to change the quarantine.
ONE_AT_A_TIME: Final = "SELECT pg_advisory_xact_lock(hashtextextended('heartbeat replay', 0))"
# A payload that was cut is no longer what its sender wrote.
TAKE: Final = """
SELECT id, payload, appended_at, reason FROM rejected_heartbeats
WHERE id > %(after)s AND payload IS NOT NULL AND length(payload) = payload_length
  AND (%(reason)s::text IS NULL OR reason = %(reason)s OR starts_with(reason, %(reason)s || ':'))
ORDER BY id LIMIT %(chunk)s
"""
STORE: Final = 'INSERT INTO heartbeats (id, customer_id, "timestamp", heart_rate) VALUES (%s, %s, %s, %s)'
CHECK_NOW: Final = "SET CONSTRAINTS ALL IMMEDIATE"
RELEASE: Final = "DELETE FROM rejected_heartbeats WHERE id = ANY (%s)"
NOTE: Final = "INSERT INTO heartbeats_touched (minute) SELECT DISTINCT to_timestamp(60 * unnest(%s::bigint[]))"
# The books follow in the same transaction: what was rejected is stored now.
REBOOK: Final = """
UPDATE kafka_ledger AS ledger
SET stored = stored + moved.count, rejected = rejected - moved.count, replayed = replayed + moved.count
FROM (SELECT (place).generation, (place).partition, count(*)
      FROM (SELECT kafka_place(id) AS place FROM unnest(%s::bigint[]) AS id) AS places GROUP BY 1, 2) AS moved
WHERE ledger.generation = moved.generation AND ledger.partition = moved.partition
"""


@dataclass
class Outcome:
    """How a replay ended, in messages."""

    moved: int = 0
    kept: Counter[str] = field(default_factory=Counter)


def replay(
    settings: Settings, credentials: Credentials, *, reason: str | None, dry_run: bool, say: Callable[[str], None]
) -> Outcome:
    """
    Judge the quarantine anew.

    Args:
        settings: Where PostgreSQL is, and how far timestamps may be ahead.
        credentials: Who we are.
        reason: Only messages with this reason; None for all.
        dry_run: Say what would happen, and change nothing.
        say: Gets the summary's lines.
    Returns:
        What moved, and what was kept for which reason.
    Raises:
        OutageError, ConfigError: The database does not answer; what was committed before stays so, and a second
            replay goes on from there.
    """
    session = Session(settings, credentials, "heartbeat-replay")
    decode = Decode(timedelta(seconds=settings.consumer.max_future_s))
    outcome = Outcome()
    after: int | None = -1
    try:
        while after is not None:
            step = partial(_replay_chunk, decode=decode, after=after, reason=reason, outcome=outcome, dry_run=dry_run)
            after = session.run("replay the quarantine", step)
    finally:
        session.close()
    say(f"{outcome.moved} messages {'would move' if dry_run else 'moved'} to heartbeats")
    for kept, count in outcome.kept.most_common():
        say(f"{count} stay in quarantine: {kept}")
    return outcome


def _replay_chunk(  # noqa: PLR0913 - one step of the loop above
    connection: Connection, *, decode: Decode, after: int, reason: str | None, outcome: Outcome, dry_run: bool
) -> int | None:
    """Replay the messages behind id `after` in one transaction; the last id looked at, None when there are no more."""
    moved: list[int] = []
    minutes: list[int] = []
    kept: Counter[str] = Counter()
    with connection.transaction(force_rollback=dry_run):
        connection.execute(ONE_AT_A_TIME)
        taken = connection.execute(TAKE, {"after": after, "reason": reason, "chunk": CHUNK}).fetchall()
        for row_id, payload, appended_at, _ in taken:
            verdict = decode(payload, (appended_at - EPOCH) // timedelta(milliseconds=1))
            if isinstance(verdict, Reason):
                kept[verdict] += 1
                continue
            try:
                with connection.transaction():
                    timestamp = EPOCH + timedelta(microseconds=verdict.time_us)
                    connection.execute(STORE, (row_id, verdict.customer_id, timestamp, verdict.heart_rate))
                    connection.execute(CHECK_NOW)
            except (pg.DataError, pg.IntegrityError, pg.RaiseException) as error:
                kept[f"{Reason.REFUSED}: {error.sqlstate}"] += 1
            else:
                moved.append(row_id)
                minutes.append(verdict.time_us // 60_000_000)
        if connection.execute(RELEASE, (moved,)).rowcount != len(moved):
            raise OutageError(
                "cannot replay the quarantine: messages vanished from it meanwhile",
                hint="Retention dropped them at this moment; run the replay again.",
            )
        connection.execute(REBOOK, (moved,))
        connection.execute(NOTE, (minutes,))
    outcome.moved += len(moved)
    outcome.kept += kept
    return taken[-1][0] if taken else None
