"""
Erases what PostgreSQL holds of people, in short transactions. Each counts in the ledger what it erases.

Each function erases at most so many rows and returns how many, so the caller repeats it until nothing is left.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from contracts.contract import ROW_ID, Contract
from contracts.fields import Integer, Uuid
from store.forgotten import key_of, names_in

MOST: Final = 5000  # rows in one transaction, arbitrary: about 50 ms
MESSAGES, BYTES = 1000, 16 * 1024 * 1024  # of the quarantine that are read at a time
# Besides heartbeats itself, what says something about a person. The last two are locked.
MAINTAINED: Final = (
    "heartbeats_per_minute", "heartbeats_per_customer", "heartbeats_fleet", "alarms", "alarm_people",
    "maintenance_turn", "alarm_turn",
)  # fmt: skip

# What was sent after the moment of forgetting is a new matter.
OLDER: Final = SQL(
    "{key} = ANY (%(people)s::text[]::{type}) AND NOT EXISTS (SELECT FROM unnest(%(firsts)s::bigint[],"
    " %(lasts)s::bigint[]) AS later (first, last) WHERE held.{id} BETWEEN first AND last)"
)
COUNT_ROWS: Final = SQL("SELECT count(*) FROM {table} AS held WHERE {older}")
# In all partitions at once, as of one moment: a new day's partition may take rows from the default one meanwhile.
FIND_ROWS: Final = SQL(
    """
SELECT nspname, relname, array_agg(place)::text[]
FROM (SELECT tableoid, ctid AS place FROM {table} AS held WHERE {older} LIMIT %(most)s) AS found
JOIN pg_class ON pg_class.oid = found.tableoid JOIN pg_namespace ON pg_namespace.oid = relnamespace
GROUP BY nspname, relname ORDER BY nspname, relname
"""
)
# The key again: since it was found, a row's place may have been freed and used again.
DELETE_ROWS: Final = SQL(
    """
WITH gone AS (
    DELETE FROM ONLY {part} AS held WHERE ctid = ANY (%(places)s::tid[]) AND {older} RETURNING {id} AS id, {time} AS at
), noted AS (
    INSERT INTO heartbeats_touched (minute)
    SELECT DISTINCT date_bin('1 min', at, timestamptz '0001-01-01 00:00:00+00') FROM gone
    WHERE %(maintained)s AND isfinite(at)
)
SELECT id >> 40, count(*) FROM gone GROUP BY 1
"""
)
# All sessions lock the ledger's rows in one order, and last: until COMMIT.
LOCK_LEDGER: Final = """
SELECT FROM kafka_ledger WHERE (generation::bigint << 16) | partition = ANY (%(places)s)
ORDER BY generation, partition FOR NO KEY UPDATE
"""
# Nobody knows which of the rows came out of the quarantine; not more than are left.
TALLY_ROWS: Final = """
UPDATE kafka_ledger SET stored = stored - number, erased = erased + number, replayed = least(replayed, stored - number)
FROM unnest(%(places)s::bigint[], %(numbers)s::bigint[]) AS gone (place, number)
WHERE (generation::bigint << 16) | partition = place
"""
TALLY_REJECTED: Final = """
UPDATE kafka_ledger SET rejected = rejected - number, erased = erased + number
FROM unnest(%(places)s::bigint[], %(numbers)s::bigint[]) AS gone (place, number)
WHERE (generation::bigint << 16) | partition = place
"""
# Other tables' messages are a matter of their own: they have other keys.
READ_REJECTED: Final = """
SELECT id, key, payload
FROM (SELECT id, key, payload, sum(coalesce(length(payload), 0)::bigint) OVER (ORDER BY id) AS bytes
      FROM (SELECT id, key, payload FROM rejected_heartbeats
            WHERE id > %(after)s AND id >> 56 NOT IN (SELECT generation FROM kafka_topics WHERE table_name <> %(table)s)
            ORDER BY id LIMIT %(messages)s) AS found) AS numbered
WHERE bytes - coalesce(length(payload), 0) < %(bytes)s
ORDER BY id
"""
# A replay that has read the messages must neither store them afterwards nor fail.
REJECTED_TURN: Final = "SELECT rejected_turn()"
DELETE_REJECTED: Final = "DELETE FROM rejected_heartbeats WHERE id = ANY (%s) RETURNING id >> 40"
# A refresh that began earlier has ended, and a later one finds no rows. It takes up to a few seconds.
MAINTENANCE_TURN: Final = "SET LOCAL lock_timeout = '30s'; LOCK TABLE maintenance_turn IN EXCLUSIVE MODE"
ALARM_TURN: Final = "SET LOCAL lock_timeout = '30s'; LOCK TABLE alarm_turn IN EXCLUSIVE MODE"
COUNT_ROLLUPS: Final = """
SELECT (SELECT count(*) FROM heartbeats_per_minute WHERE customer_id = ANY (%(people)s))
       + (SELECT count(*) FROM heartbeats_per_customer WHERE customer_id = ANY (%(people)s))
"""
COUNT_ALARMS: Final = "SELECT count(*) FROM alarms WHERE customer_id = ANY (%(people)s)"
# The notes: a minute may also have heartbeats that were sent after the moment of forgetting.
DELETE_MINUTES: Final = """
WITH gone AS (
    DELETE FROM heartbeats_per_minute WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM heartbeats_per_minute WHERE customer_id = ANY (%(people)s) LIMIT %(most)s))
    RETURNING minute, minute < (SELECT dropped_before FROM heartbeats_horizon) IS TRUE AS is_dropped
), noted AS (
    INSERT INTO heartbeats_touched (minute) SELECT DISTINCT minute FROM gone WHERE NOT is_dropped
)
SELECT count(*), array_agg(DISTINCT minute) FILTER (WHERE is_dropped) FROM gone
"""
# The fleet's rollups of dropped days cannot be summed up again. They go where no other person is in them.
DELETE_LONELY: Final = """
WITH old AS (
    SELECT DISTINCT width, date_bin(greatest(width, interval '1 min'), minute, timestamptz '0001-01-01 00:00:00+00')
                    AS begins
    FROM unnest(%s::timestamptz[]) AS minute, unnest('{10 s, 1 min, 10 min, 1 h}'::interval[]) AS width
)
DELETE FROM heartbeats_fleet USING old
WHERE width_s = extract(epoch FROM width) AND bucket >= begins AND bucket < begins + greatest(width, interval '1 min')
  AND NOT EXISTS (SELECT FROM heartbeats_per_minute
                  WHERE minute >= begins AND minute < begins + greatest(width, interval '1 min'))
"""
DELETE_BUCKETS: Final = """
DELETE FROM heartbeats_per_customer WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM heartbeats_per_customer WHERE customer_id = ANY (%(people)s) LIMIT %(most)s))
"""
DELETE_PEOPLE: Final = "DELETE FROM alarm_people WHERE customer_id = ANY (%(people)s)"
DELETE_ALARMS: Final = "DELETE FROM alarms WHERE customer_id = ANY (%(people)s)"


@dataclass(frozen=True, slots=True)
class People:
    """
    Whom to erase.

    Args:
        contract: The event; its key names the person.
        names: As in `store.forgotten`.
        later: Ranges of row ids, first and last, that are not erased.
    """

    contract: Contract
    names: Sequence[bytes]
    later: Sequence[tuple[int, int]]

    @property
    def given(self) -> dict[str, Any]:
        """Return the parameters of the statements."""
        return {
            "people": [name.decode() for name in self.names],
            "firsts": [first for first, _ in self.later],
            "lasts": [last for _, last in self.later],
            "maintained": self.contract.maintained,
            "table": self.contract.table,
            "most": MOST,
        }

    def format(self, statement: SQL, **names: Identifier) -> Composed:
        """Return a statement about the contract's table."""
        key = key_of(self.contract)
        type_ = SQL("bigint[]" if isinstance(key, Integer) else "uuid[]" if isinstance(key, Uuid) else "text[]")
        columns = {"key": Identifier(key.name), "id": Identifier(ROW_ID), "time": Identifier(self.contract.time)}
        older = OLDER.format(type=type_, **columns)
        return statement.format(table=Identifier(self.contract.table), older=older, **columns, **names)

    def is_older(self, row_id: int) -> bool:
        """Return whether a message was in Kafka at the moment of forgetting."""
        return not any(first <= row_id <= last for first, last in self.later)


def count(connection: Connection, people: People) -> tuple[int, int, int]:
    """Return how many rows, rollups and alarms there are."""
    (rows_,) = connection.execute(people.format(COUNT_ROWS), people.given).fetchone() or (0,)
    if not people.contract.maintained:
        return rows_, 0, 0
    (rollups,) = connection.execute(COUNT_ROLLUPS, people.given).fetchone() or (0,)
    (alarms_,) = connection.execute(COUNT_ALARMS, people.given).fetchone() or (0,)
    return rows_, rollups, alarms_


def rows(connection: Connection, people: People) -> int:
    """Erase rows. Their minutes are noted, so that the fleet's rollups are summed up again."""
    gone, find = Counter[int](), people.format(FIND_ROWS)
    # A reread can delete all that was found; then there may be more.
    while not gone and (found := connection.execute(find, people.given).fetchall()):
        for *part, places in found:
            delete = people.format(DELETE_ROWS, part=Identifier(*part))
            for place, number in connection.execute(delete, {**people.given, "places": places}):
                gone[place] += number
    _tally(connection, TALLY_ROWS, gone)
    return gone.total()


def quarantined(connection: Connection, people: People) -> Iterator[list[int]]:
    """Yield the ids of messages in quarantine, at most `MESSAGES` at a time. It reads the whole quarantine."""
    key, names, after = key_of(people.contract), set(people.names), -1
    given = {"table": people.contract.table, "messages": MESSAGES, "bytes": BYTES}
    while found := connection.execute(READ_REJECTED, {**given, "after": after}, binary=True).fetchall():
        after = found[-1][0]
        yield [
            row_id
            for row_id, its_key, payload in found
            if not names.isdisjoint(names_in(key, its_key, payload)) and people.is_older(row_id)
        ]


def messages(connection: Connection, ids: Sequence[int]) -> int:
    """Erase these messages from the quarantine; a replay may have moved some of them meanwhile."""
    connection.execute(REJECTED_TURN)
    gone = Counter(place for (place,) in connection.execute(DELETE_REJECTED, (ids,)))
    _tally(connection, TALLY_REJECTED, gone)
    return gone.total()


def minutes(connection: Connection, people: People) -> int:
    """Erase rollups per minute."""
    connection.execute(MAINTENANCE_TURN)
    found = connection.execute(DELETE_MINUTES, people.given).fetchone()
    number, dropped = found or (0, None)
    if dropped:
        connection.execute(DELETE_LONELY, (dropped,))
    return int(number)


def buckets(connection: Connection, people: People) -> int:
    """Erase the wider rollups, which are sums of those per minute."""
    connection.execute(MAINTENANCE_TURN)
    return connection.execute(DELETE_BUCKETS, people.given).rowcount


def alarms(connection: Connection, people: People) -> int:
    """Erase all alarms, and what is known for the next ones."""
    connection.execute(ALARM_TURN)
    connection.execute(DELETE_PEOPLE, people.given)
    return connection.execute(DELETE_ALARMS, people.given).rowcount


def _tally(connection: Connection, statement: str, gone: Mapping[int, int]) -> None:
    if gone:
        given = {"places": list(gone), "numbers": list(gone.values())}
        connection.execute(LOCK_LEDGER, given)
        connection.execute(statement, given)
