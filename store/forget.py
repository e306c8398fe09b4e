"""
Erases people: rows, rollups, alarms and quarantined messages. What Kafka still holds of them is not stored again.

First the people are listed in `forgotten`, with the ends of Kafka's logs. From then on no consumer stores older
messages of theirs, and what is stored already can be erased in short transactions. A second run continues it.
"""

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from psycopg import Connection
from psycopg import errors as pg

from common.errors import ConfigError, NoLeaderError, StoppedError
from common.progress import progress
from common.settings import Credentials, Settings
from common.topic import TopicAdmin
from common.topic_config import kept_for
from common.topic_identity import TopicIdentity, identity
from common.topic_log import TopicLog
from contracts.contract import Contract
from contracts.load import contract_of
from store import erase, ledger
from store.forgotten import hash_of, read_names
from store.row_id import LAST_OFFSET, pack
from store.session import Session
from store.table import check_table

# Whoever waits for a lock can hold up those who come later, so waits are short, and repeated.
LIMITS: Final = {"lock_timeout": "500ms", "statement_timeout": "0"}
ATTEMPTS, PAUSE_S = 60, 0.5
STEPS: Final = (
    (erase.rows, "rows"), (erase.minutes, "rollups"), (erase.buckets, "rollups"), (erase.alarms, "alarms"),
)  # fmt: skip

GENERATION: Final = "SELECT generation FROM kafka_topics WHERE topic_id = %s"
LAST_PARTITION: Final = 65535  # of a row id
TOPICS: Final = "SELECT DISTINCT topic FROM kafka_topics WHERE table_name = %s"
# LOCK TABLE asks for a right like DELETE.
MAY_ERASE: Final = "SELECT bool_and(has_table_privilege(quote_ident(name), 'DELETE')) FROM unnest(%s::text[]) AS name"
LIST: Final = """
INSERT INTO forgotten AS held (generation, hash, before_offsets)
SELECT %(generation)s, unnest(%(hashes)s::bytea[]), %(ends)s::bigint[]
ON CONFLICT (generation, hash) DO UPDATE SET forgotten_at = excluded.forgotten_at, before_offsets = ARRAY(
    SELECT greatest(older, newer)
    FROM unnest(held.before_offsets, excluded.before_offsets) WITH ORDINALITY AS both_of (older, newer, nth)
    ORDER BY nth)
"""
# Waits for the transaction that advances this partition. One that comes later must know the list.
NEW_VERSION: Final = """
UPDATE kafka_ledger SET forgotten_version = forgotten_version + 1 WHERE generation = %s AND partition = %s
"""
# Entries whose messages Kafka no longer holds and no consumer has yet to store, and of the topic's older generations.
SHORTEN_LIST: Final = """
DELETE FROM forgotten WHERE generation = %(generation)s AND NOT EXISTS (
    SELECT FROM unnest(before_offsets, %(lows)s::bigint[]) WITH ORDINALITY AS both_of (before, low, nth)
    JOIN kafka_ledger l ON partition = nth - 1 WHERE l.generation = %(generation)s AND before > least(low, next_offset))
OR generation IN (SELECT generation FROM kafka_topics WHERE topic = %(topic)s AND generation <> %(generation)s)
"""


@dataclass(frozen=True, slots=True)
class Log:
    """A topic as Kafka holds it: by partition, the first offset and the next one; how long a record stays at most."""

    topic: TopicIdentity
    ranges: Mapping[int, tuple[int, int]]
    kept_for: timedelta | None


@dataclass
class Outcome:
    """What was erased, or would be; by topic, until when Kafka holds it at most: None if there is no known limit."""

    people: int
    dry_run: bool
    rows: int = 0
    quarantined: int = 0
    rollups: int = 0
    alarms: int = 0
    kafka_holds_until: dict[str, str | None] = field(default_factory=dict)
    topics_not_found: list[str] = field(default_factory=list)


def forget(  # noqa: PLR0913 - where, whom and how, by keyword
    settings: Settings,
    credentials: Credentials,
    people: Iterable[str],
    *,
    dry_run: bool,
    as_json: bool,
    say: Callable[[str], None],
) -> None:
    """
    Erase people, by the contract's key.

    Args:
        settings: Where Kafka and PostgreSQL are, and which event this is about.
        credentials: The owner of the tables.
        people: Values of the key, as text. None: only shorten the list.
        dry_run: Count, and change nothing.
        as_json: Say one JSON object instead of lines.
        say: Gets the summary, which names no person.
    Raises:
        ConfigError: A value cannot be a key, or the role may not erase.
        OutageError: Kafka or PostgreSQL does not answer. What was erased before stays so; a second run continues.
        StoppedError: Ctrl-C; the same holds.
    """
    contract = contract_of(settings.event)
    names = read_names(contract, people)
    outcome = Outcome(len(names), dry_run)
    session = Session(settings, credentials, "heartbeat-forget", LIMITS)
    try:
        session.run("look up the tables", partial(_check, contract=contract, username=credentials.username))
        known = session.run("look up the topics", lambda conn: conn.execute(TOPICS, (contract.table,)).fetchall())
        logs = []
        for topic in sorted({settings.kafka.topic, *(name for (name,) in known)}):
            if (log := look_up(settings, topic)) is None:
                outcome.topics_not_found.append(topic)
                continue
            logs.append(log)
            until = None if log.kept_for is None else (datetime.now(UTC) + log.kept_for).isoformat(timespec="seconds")
            outcome.kafka_holds_until[topic] = until
        do = partial(_erase, contract=contract, names=names, logs=logs, outcome=outcome)
        session.run("erase people", do)
    except KeyboardInterrupt:
        raise StoppedError(
            "forget stopped: some of it may be left" if not dry_run else "forget stopped: nothing was changed",
            hint="Run it again: it continues where it was stopped.",
        ) from None
    finally:
        session.close()
    if as_json:
        say(json.dumps(asdict(outcome)))
    else:
        for line in _lines(outcome, contract.table):
            say(line)


def look_up(settings: Settings, topic: str) -> Log | None:
    """Ask Kafka for a topic's logs; return None if there is no such topic. Raises as `TopicLog` and `identity`."""
    settings = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"topic": topic})})
    admin, log = TopicAdmin(settings.kafka), TopicLog(settings)
    try:
        if (state := admin.look()) is None:
            return None
        found, ranges = identity(topic, state), log.ranges(range(state.partitions))
        if leaderless := set(range(state.partitions)) - ranges.keys():
            raise NoLeaderError(topic, leaderless)
        log.check(found).wait()  # afterwards, so the ranges are this topic's and not its successor's
        return Log(found, ranges, kept_for(admin.read_config()))
    finally:
        log.close()


def _lines(outcome: Outcome, table: str) -> list[str]:
    verb = "would be" if outcome.dry_run else "were"
    first = f"{outcome.people} people {verb} erased: {outcome.rows} rows of {table}"
    lines = [f"{first}, {outcome.quarantined} quarantined messages, {outcome.rollups} rollups, {outcome.alarms} alarms"]
    for topic, until in outcome.kafka_holds_until.items():
        held = f"until {until} at the latest" if until else "without a known limit of time"
        lines.append(f"Kafka holds their older messages in topic {topic} {held}; none of them is stored again")
    lines += [
        f"there is no topic {topic} here: if another Kafka has it, run this again with its address"
        for topic in outcome.topics_not_found
    ]
    return lines


def _check(connection: Connection, contract: Contract, username: str) -> None:
    check_table(connection, contract)
    tables = [contract.table, "rejected_heartbeats", "forgotten", *(erase.MAINTAINED if contract.maintained else ())]
    if connection.execute(MAY_ERASE, (tables,)).fetchone() != (True,):
        raise ConfigError(
            f"cannot forget people as {username}: this role may not erase",
            hint="Run it as the owner of the tables (docs/production.md, Erase a person).",
        )


def _erase(
    connection: Connection, contract: Contract, names: Sequence[bytes], logs: Sequence[Log], outcome: Outcome
) -> None:
    for log in () if outcome.dry_run else logs:
        _list(connection, contract, names, log)
    if not names:
        return
    # In this order: a replay can move a message out of the quarantine, and rollups come from rows.
    people = erase.People(contract, names, _later(connection, logs))
    with progress("search the quarantine"):
        for ids in filter(None, erase.quarantined(connection, people)):
            do = partial(erase.messages, ids=ids)
            outcome.quarantined += len(ids) if outcome.dry_run else _patiently(connection, do)
    with progress(f"count {contract.table}"):
        counts = erase.count(connection, people)
    if outcome.dry_run:
        outcome.rows, outcome.rollups, outcome.alarms = counts
        return
    with progress("erase", sum(counts)) as advance:
        for step, what in STEPS if contract.maintained else STEPS[:1]:
            while number := _patiently(connection, partial(step, people=people)):
                advance(number)
                setattr(outcome, what, getattr(outcome, what) + number)
                if step is not erase.rows and number < erase.MOST:
                    break  # a person who goes on sending gets new ones


def _list(connection: Connection, contract: Contract, names: Sequence[bytes], log: Log) -> None:
    """List the people, wait until no transaction goes by the list before, and shorten it."""
    with connection.transaction():
        generation = ledger.open_partitions(connection, log.topic, log.ranges, contract.table)
    lows, ends = zip(*(log.ranges[partition] for partition in sorted(log.ranges)), strict=True)
    given = {"generation": generation, "topic": log.topic.name, "lows": list(lows), "ends": list(ends)}
    if names:
        connection.execute(LIST, {**given, "hashes": [hash_of(name) for name in names]})
        for partition in log.ranges:
            _patiently(connection, partial(_renew, generation=generation, partition=partition))
    connection.execute(SHORTEN_LIST, given)


def _renew(connection: Connection, generation: int, partition: int) -> int:
    return connection.execute(NEW_VERSION, (generation, partition)).rowcount


def _later(connection: Connection, logs: Sequence[Log]) -> list[tuple[int, int]]:
    """Return the row ids of messages that come after the ends of the logs."""
    later = []
    for log in logs:
        for (generation,) in connection.execute(GENERATION, (log.topic.topic_id,)).fetchall():
            later += [
                (pack(generation, partition, end), pack(generation, partition, LAST_OFFSET))
                for partition, (_, end) in log.ranges.items()
            ]
            later.append((pack(generation, len(log.ranges), 0), pack(generation, LAST_PARTITION, LAST_OFFSET)))
    return later


def _patiently(connection: Connection, action: Callable[[Connection], int]) -> int:
    """Run a transaction, again while a lock that it needs is taken."""
    for _ in range(1, ATTEMPTS):
        with suppress(pg.LockNotAvailable, pg.DeadlockDetected), connection.transaction():
            return action(connection)
        time.sleep(PAUSE_S)
    with connection.transaction():
        return action(connection)
