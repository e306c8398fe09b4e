"""The ledger: which offsets of which topic became rows. Each function runs on the connection that it gets."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg import Connection

from common.errors import ConfigError, LedgerError
from common.topic_identity import TopicIdentity
from store.batch import Batch, Slice
from store.errors import ForgottenChangedError, LogEndsEarlyError, StaleOwnerError
from store.position import LastRecord, Position
from store.record import Rejected
from store.row_id import LAST_GENERATION

NO_VERSIONS: Final[Mapping[int, int]] = {}
# The fence: a row is updated only if its next offset is the batch's first, and if the session knows who was forgotten.
# The same statement notes the rollups' minutes. Offsets without a record leave the last record as it is.
ADVANCE: Final = """
WITH noted AS (
    INSERT INTO heartbeats_touched (minute, minutes)
    SELECT to_timestamp(3600 * hour), minutes
    FROM unnest(%(hours)s::bigint[], %(minutes)s::bigint[]) AS note (hour, minutes)
)
UPDATE kafka_ledger AS ledger
SET next_offset = step.to_offset, stored = ledger.stored + step.stored, rejected = ledger.rejected + step.rejected,
    skipped = ledger.skipped + step.skipped, duplicates = ledger.duplicates + step.duplicates,
    erased = ledger.erased + step.erased, updated_at = clock_timestamp(),
    last_offset = coalesce(step.last_offset, ledger.last_offset),
    last_fingerprint = CASE WHEN step.last_offset IS NULL THEN ledger.last_fingerprint ELSE step.last_fingerprint END
FROM unnest(%(partitions)s::integer[], %(froms)s::bigint[], %(tos)s::bigint[],
            %(stored)s::bigint[], %(rejected)s::bigint[], %(skipped)s::bigint[], %(duplicates)s::bigint[],
            %(erased)s::bigint[], %(last_offsets)s::bigint[], %(fingerprints)s::bigint[], %(versions)s::bigint[])
     AS step (partition, from_offset, to_offset, stored, rejected, skipped, duplicates, erased, last_offset,
              last_fingerprint, forgotten_version)
WHERE ledger.generation = %(generation)s AND ledger.partition = step.partition
  AND ledger.next_offset = step.from_offset AND ledger.forgotten_version = step.forgotten_version
"""
# Two consumers that see a new topic at the same time give it one generation.
LOCK_TOPICS: Final = "LOCK TABLE kafka_topics IN SHARE ROW EXCLUSIVE MODE"
FIND_GENERATION: Final = "SELECT generation, table_name FROM kafka_topics WHERE topic_id = %s"
# The next generation; after the last one, that of an older topic without rows.
FREE_GENERATION: Final = "SELECT free_generation()"
ADD_TOPIC: Final = "INSERT INTO kafka_topics (generation, topic_id, topic, table_name) VALUES (%s, %s, %s, %s)"
IF_RENAMED: Final = "If the table was renamed, run: UPDATE kafka_topics SET table_name = '{}' WHERE table_name = '{}';"
OPEN_LEDGER: Final = """
INSERT INTO kafka_ledger (generation, partition, start_offset, next_offset)
SELECT %(generation)s, opened.partition, opened.low, opened.low
FROM unnest(%(partitions)s::integer[], %(lows)s::bigint[]) AS opened (partition, low)
ON CONFLICT DO NOTHING
"""
POSITIONS: Final = """
SELECT partition, next_offset, last_offset, last_fingerprint FROM kafka_ledger
WHERE generation = %s AND partition = ANY (%s)
"""
# Expired offsets are skipped by compare-and-set, too: another consumer may have read them in time.
SKIP_EXPIRED: Final = """
UPDATE kafka_ledger
SET next_offset = %(low)s, expired = expired + %(low)s - next_offset, updated_at = clock_timestamp()
WHERE generation = %(generation)s AND partition = %(partition)s AND next_offset = %(next)s
"""


def read(
    connection: Connection,
    topic: TopicIdentity,
    log_ranges: Mapping[int, tuple[int, int]],
    table: str,
    *,
    skip_expired: bool,
) -> tuple[int, dict[int, Position]]:
    """
    Read the position of each partition. A partition that the ledger does not know begins at the log's first offset.

    Args:
        connection: Outside of a transaction.
        topic: The topic as it is now.
        log_ranges: By partition, the first offset that Kafka holds, and the offset of its next record.
        table: Where the topic's events are stored.
        skip_expired: Skip, and count, messages that Kafka dropped unread.
    Returns:
        The topic's generation, and by partition the next offset to read and the last record that was taken.
    Raises:
        LedgerError: Kafka holds less than was read already, or dropped what was not read yet.
        ConfigError: The topic's events are stored in another table, or there is no number left for it.
    """
    with connection.transaction():
        generation = open_partitions(connection, topic, log_ranges, table)
        positions = _positions(connection, generation, list(log_ranges))
        for partition, (low, end) in log_ranges.items():
            expected, last = positions[partition].next_offset, positions[partition].last
            if last is not None and last.offset < low:
                positions[partition] = Position(expected)
            if expected > end:
                raise LogEndsEarlyError(
                    f"cannot continue {topic.name}[{partition}]: offset {expected} is next, but Kafka's log ends at"
                    f" {end}",
                    partition=partition,
                    expected=expected,
                    hint="Kafka lost records that are stored here, for example by a restored volume. New records would"
                    " get used offsets: delete the topic, then start the consumer, which creates it again.",
                )
            if expected < low:
                if not skip_expired:
                    raise LedgerError(
                        f"cannot read {topic.name}[{partition}]: {low - expected} messages, offsets {expected} to"
                        f" {low - 1}, were dropped by Kafka before they were read",
                        hint="They are lost. To continue after them and count them as expired, set"
                        " HEARTBEAT_CONSUMER__SKIP_EXPIRED=true for one start.",
                    )
                connection.execute(
                    SKIP_EXPIRED, {"generation": generation, "partition": partition, "next": expected, "low": low}
                )
                positions[partition] = Position(low)
    return generation, positions


def open_partitions(
    connection: Connection, topic: TopicIdentity, log_ranges: Mapping[int, tuple[int, int]], table: str
) -> int:
    """Add the partitions that the ledger does not know; return the topic's generation. Args, raises: as `read`."""
    generation = _generation(connection, topic, table)
    lows = [low for low, _ in log_ranges.values()]
    connection.execute(OPEN_LEDGER, {"generation": generation, "partitions": list(log_ranges), "lows": lows})
    return generation


def advance(
    connection: Connection, batch: Batch, rejected: Sequence[Rejected], versions: Mapping[int, int] = NO_VERSIONS
) -> None:
    """
    Advance the ledger from the batch's first offsets to its last ones: for all its partitions, or for none.

    Args:
        connection: Inside the transaction that stores the batch's rows.
        batch: The batch.
        rejected: Its quarantined records.
        versions: By partition, the version of the list of forgotten people that the batch obeys; 0 if it is missing.
    Raises:
        StaleOwnerError: The ledger is at another offset; the transaction must be rolled back.
        ForgottenChangedError: The list has a newer version; the same holds.
    """
    notes = batch.notes()
    given = {**steps(batch, rejected, versions), "hours": list(notes), "minutes": list(notes.values())}
    if connection.execute(ADVANCE, given).rowcount != len(batch.slices):
        positions = _positions(connection, batch.generation, [part.partition for part in batch.slices])
        if all(_is_next(part, positions) for part in batch.slices):
            raise ForgottenChangedError
        raise _stale(connection, batch)


def steps(batch: Batch, rejected: Sequence[Rejected], versions: Mapping[int, int] = NO_VERSIONS) -> dict[str, Any]:
    """Return the parameters of `ADVANCE`, one list a column: each partition's offsets, and what they became."""
    count = Counter(one.record.partition() for one in rejected)
    slices = sorted(batch.slices, key=lambda part: part.partition)  # every session locks in one order
    return {
        "generation": batch.generation,
        "partitions": [part.partition for part in slices],
        "froms": [part.from_offset for part in slices],
        "tos": [part.to_offset for part in slices],
        "stored": [
            len(part.records)
            + len(part.rejected)
            - count[part.partition]
            - batch.duplicates[part.partition]
            - batch.erased[part.partition]
            for part in slices
        ],
        "rejected": [count[part.partition] for part in slices],
        "skipped": [part.skipped for part in slices],
        "duplicates": [batch.duplicates[part.partition] for part in slices],
        "erased": [batch.erased[part.partition] for part in slices],
        "versions": [versions.get(part.partition, 0) for part in slices],
        "last_offsets": [part.last and part.last.offset for part in slices],
        "fingerprints": [part.last and part.last.fingerprint for part in slices],
    }


def explain_taken_id(connection: Connection, batch: Batch, detail: str | None) -> StaleOwnerError | LedgerError:
    """Return a stale owner's error if another consumer stored the batch, and a `LedgerError` if the ledger has not."""
    positions = _positions(connection, batch.generation, [part.partition for part in batch.slices])
    if any(not _is_next(part, positions) for part in batch.slices):
        return _stale(connection, batch)
    return LedgerError(
        f"cannot store a batch: a row is there already that the ledger has not counted: {detail}",
        hint="kafka_ledger and the tables contradict each other. Was one of them restored or emptied alone? Read"
        " docs/reliability.md before you continue.",
    )


def _generation(connection: Connection, topic: TopicIdentity, table: str) -> int:
    if (known := _find(connection, topic, table)) is not None:
        return known
    connection.execute(LOCK_TOPICS)
    if (known := _find(connection, topic, table)) is not None:
        return known
    free = connection.execute(FREE_GENERATION).fetchone()
    if free is None or free[0] is None:
        raise ConfigError(
            f"cannot read topic {topic.name}: this database has had {LAST_GENERATION} generations of topics, and none"
            " is free again",
            hint="The generation of a deleted topic is free again when retention has dropped all its rows: shorten"
            " consumer.retention_days, or use another database.",
        )
    connection.execute(ADD_TOPIC, (free[0], topic.topic_id, topic.name, table))
    return int(free[0])


def _find(connection: Connection, topic: TopicIdentity, table: str) -> int | None:
    found = connection.execute(FIND_GENERATION, (topic.topic_id,)).fetchone()
    if found is None:
        return None
    generation, stored_in = found
    if stored_in != table:
        raise ConfigError(
            f"cannot store topic {topic.name} in table {table}: its events are stored in {stored_in}",
            hint="Each event needs a topic of its own: correct kafka.topic or event.contract. "
            + IF_RENAMED.format(table, stored_in),
        )
    return int(generation)


def _stale(connection: Connection, batch: Batch) -> StaleOwnerError:
    positions = _positions(connection, batch.generation, [part.partition for part in batch.slices])
    part = next((part for part in batch.slices if not _is_next(part, positions)), batch.slices[0])
    found = positions.get(part.partition)
    return StaleOwnerError(
        f"cannot advance partition {part.partition}: expected next offset {part.from_offset},"
        f" found {found.next_offset if found else None}",
        hint="Another consumer owns this partition; this one reads the ledger again and continues.",
    )


def _is_next(part: Slice, positions: Mapping[int, Position]) -> bool:
    found = positions.get(part.partition)
    return found is not None and found.next_offset == part.from_offset


def _positions(connection: Connection, generation: int, partitions: list[int]) -> dict[int, Position]:
    return {
        partition: Position(next_offset, None if fingerprint is None else LastRecord(last_offset, fingerprint))
        for partition, next_offset, last_offset, fingerprint in connection.execute(POSITIONS, (generation, partitions))
    }
