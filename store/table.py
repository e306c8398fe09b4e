"""Checks that the table of a contract, which was created by hand, has the columns that the contract needs."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from psycopg import Connection

from common.errors import ConfigError, OutageError
from contracts.contract import ROW_ID, Contract
from store.kinds import kind_of

# A domain counts as its base type, and `varchar(20)` as varchar: a longer text is refused. A time is not refused but
# rounded, so `timestamptz(3)` is another type.
COLUMNS: Final = """
SELECT attname, format_type(base.oid, CASE WHEN base.oid = 'timestamptz'::regtype
                                          THEN nullif(greatest(atttypmod, declared.typtypmod), 6) END), attnotnull,
       atthasdef OR attidentity <> '', attgenerated <> ''
FROM pg_attribute JOIN pg_type AS declared ON declared.oid = atttypid
JOIN pg_type AS base ON base.oid = coalesce(nullif(declared.typbasetype, 0), declared.oid)
WHERE attrelid = to_regclass(quote_ident(%s)) AND attnum > 0 AND NOT attisdropped
"""
# A view, or a table of another server, does not commit with the ledger. Retention goes by the partitions' column.
STORAGE: Final = """
SELECT relkind IN ('r', 'p'), relpersistence = 'u' OR EXISTS (
    SELECT FROM pg_partition_tree(held.oid) JOIN pg_class AS part ON part.oid = relid WHERE part.relpersistence = 'u'
), (
    SELECT attname FROM daily_tables JOIN pg_partitioned_table ON partrelid = held.oid
    JOIN pg_attribute ON attrelid = partrelid AND attnum = partattrs[0] WHERE table_name = relname)
FROM pg_class AS held WHERE oid = to_regclass(quote_ident(%s))
"""
# `unique` needs an index on exactly these columns, over all rows, that is checked at once (for ON CONFLICT), and the
# right to create a temporary table (for COPY).
# A row that a trigger skips, or whose unique fields it changes, would look like a duplicate.
UNIQUE: Final = """
SELECT EXISTS (
    SELECT FROM pg_index
    WHERE indrelid = to_regclass(quote_ident(%s)) AND indisunique AND indisvalid AND indimmediate
      AND indpred IS NULL AND indexprs IS NULL
      AND (SELECT array_agg(attname::text ORDER BY attname) FROM pg_attribute
           WHERE attrelid = indrelid AND attnum = ANY ((indkey::smallint[])[0:indnkeyatts - 1])) = %s
), has_database_privilege(current_database(), 'TEMPORARY'), (
    SELECT min(tgname)
    FROM pg_trigger
    WHERE (tgrelid = to_regclass(quote_ident(%s))
           OR tgrelid IN (SELECT relid FROM pg_partition_tree(to_regclass(quote_ident(%s)))))
      AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 7 = 7  -- BEFORE INSERT, FOR EACH ROW
)
"""


class Column(NamedTuple):
    """A column in PostgreSQL's catalog."""

    type: str
    is_not_null: bool
    has_default: bool
    is_generated: bool = False


def check_table(connection: Connection, contract: Contract) -> None:
    """
    Compare a contract with its table.

    Raises:
        ConfigError: The table does not fit the contract.
        OutageError: The table does not exist yet.
    """
    found = {name: Column(*rest) for name, *rest in connection.execute(COLUMNS, (contract.table,))}
    if not found:
        raise OutageError(
            f"cannot store events: there is no table {contract.table}",
            hint="As the owner of the tables, apply db/schema.sql and the event's own SQL file. The consumer then"
            " continues.",
        )
    misfits = [*storage_misfits_of(connection, contract), *misfits_of(contract, found)]
    _refuse(
        contract,
        misfits,
        "Change the table or the contract, so that each field has a column of its type, then start again.",
    )
    if contract.unique:
        check_unique(connection, contract)


def check_unique(connection: Connection, contract: Contract) -> None:
    """Raise a `ConfigError` if the table lacks what the contract's unique fields need."""
    misfits = unique_misfits_of(connection, contract)
    _refuse(
        contract,
        misfits,
        "As the owner, create the index or grant the right; docs/your-own-event.md says how. Then start again.",
    )


def _refuse(contract: Contract, misfits: Sequence[str], hint: str) -> None:
    if misfits:
        raise ConfigError(f"cannot store events in table {contract.table}: {'; '.join(misfits)}", hint=hint)


def misfits_of(contract: Contract, columns: Mapping[str, Column]) -> list[str]:
    """Return each difference as a phrase."""
    wanted: dict[str, tuple[tuple[str, ...], bool]] = {ROW_ID: (("bigint",), False)}
    wanted |= {field.name: (kind_of(field).types, field.nullable) for field in contract.columns}
    misfits = []
    for name, (types, nullable) in wanted.items():
        if (column := columns.get(name)) is None:
            misfits.append(f"column {name} is missing")
        elif column.type not in types:
            misfits.append(f"column {name} is {column.type}, not {' or '.join(types)}")
        elif column.is_generated:
            misfits.append(f"column {name} is generated")
        elif nullable and column.is_not_null:
            misfits.append(f"column {name} is NOT NULL, but the field may be missing")
    for name, column in columns.items():
        if name not in wanted and column.is_not_null and not column.has_default:
            misfits.append(f"column {name} is NOT NULL, but no field fills it")
    return misfits


def storage_misfits_of(connection: Connection, contract: Contract) -> list[str]:
    """Return why the table would not keep what the ledger counts, as phrases."""
    is_table, is_unlogged, day_of = connection.execute(STORAGE, (contract.table,)).fetchone() or (True, False, None)
    misfits = [] if is_table else ["it is no table of this database"]
    if is_unlogged:
        misfits.append("it is UNLOGGED, so a crash of PostgreSQL empties it")
    if day_of not in (None, contract.time):
        misfits.append(f"it is partitioned by day of {day_of}, but the time of the event is {contract.time}")
    return misfits


def unique_misfits_of(connection: Connection, contract: Contract) -> list[str]:
    """Return what the contract's unique fields lack, as phrases."""
    given = (contract.table, sorted(contract.unique), contract.table, contract.table)
    has_index, may_stage, trigger = connection.execute(UNIQUE, given).fetchone() or (False, False, None)
    misfits = []
    if not has_index:
        misfits.append(f"a unique index on ({', '.join(contract.unique)}) is missing")
    if not may_stage:
        misfits.append("the role lacks the right TEMPORARY on the database, which unique fields need")
    if trigger:
        misfits.append(f"unique fields cannot be used with the trigger {trigger} (BEFORE INSERT FOR EACH ROW)")
    return misfits
