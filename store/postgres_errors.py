"""The meaning of PostgreSQL's errors: a bad record, an operator's mistake, or an outage to retry."""

import re
from typing import Final

import psycopg
from psycopg import errors as pg

from common.errors import ConfigError, HeartbeatError, OutageError, one_line
from common.secrets import without_secrets
from common.settings import Credentials, PostgreSQL
from contracts.contract import ROW_ID

OLD_VOLUME: Final = (
    "An existing volume keeps the names and the owner's password of its first start, whatever .env says now"
    ' (docs/production.md, "Secrets").'
)
# A rejected connection has no SQLSTATE, only a message. Unknown messages, and other languages, count as an outage.
CONNECT_MISTAKES: Final = {
    "no pg_hba.conf entry": "Let the server's pg_hba.conf admit this user, database and address.",
    # PgBouncer's message names SASL or its auth_type, for example "trust".
    r'(password|SASL|"\w+") authentication failed': "Set POSTGRESQL_USERNAME and POSTGRESQL_PASSWORD to what the server"
    f" knows. {OLD_VOLUME}",
    "no password supplied": "Set POSTGRESQL_PASSWORD.",
    r'role ".*" does not exist': f"Set POSTGRESQL_USERNAME to a role that exists (db/roles.sql). {OLD_VOLUME}",
    r'database ".*" does not exist': f"Set POSTGRESQL_DATABASE to a database that exists, or create it. {OLD_VOLUME}",
    "no such (database|user)": "Add it to the connection pooler's configuration, or correct the POSTGRESQL_ variables.",
    r"^could not match \d+ port numbers": "Give postgresql.port one number, or one for each host.",
    "^invalid |^bad value for": "Correct postgresql.libpq: it takes libpq's connection parameters.",
}
MISSING_SCHEMA_HINT: Final = (
    "As the owner of the tables, apply db/schema.sql and db/roles.sql with psql. The consumer then continues by itself."
)
LOCKED_HINT: Final = (
    "Another session holds a lock; the step is retried. pg_stat_activity shows a forgotten transaction (state"
    " 'idle in transaction')."
)


# PostgreSQL refused a row, not the batch. ProgramLimitExceeded: an index cannot hold a value of this length.
REFUSALS: Final = (pg.DataError, pg.IntegrityError, pg.RaiseException, pg.ProgramLimitExceeded)
# Not by the constraint's name: users make their own tables, and a partition's index has a name of its own.
HOLDS_ROW_ID: Final = """
SELECT FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY ((indkey::smallint[])[0:indnkeyatts - 1])
WHERE indexrelid = to_regclass(format('%%I.%%I', %s::text, %s::text)) AND attname = %s
"""


def is_taken_id(connection: psycopg.Connection, error: psycopg.Error) -> bool:
    """
    Return whether a row id is in the table already. A violation of another unique index is not meant.

    Args:
        connection: In no transaction, or in one that was rolled back to before the error.
        error: The driver's error.
    """
    schema, index = error.diag.schema_name, error.diag.constraint_name
    if not isinstance(error, pg.UniqueViolation) or schema is None or index is None:
        return False
    return connection.execute(HOLDS_ROW_ID, (schema, index, ROW_ID)).fetchone() is not None


def is_partition_made_meanwhile(error: psycopg.Error, table: str) -> bool:
    """Return whether a day's partition was created while a row was written to the default one: write it again."""
    is_bound = isinstance(error, pg.CheckViolation) and error.diag.constraint_name is None
    return is_bound and error.diag.table_name == f"{table}_default"


def explain(error: psycopg.Error, tried: str, address: PostgreSQL, credentials: Credentials) -> HeartbeatError:
    """
    Return our error for one of PostgreSQL's.

    Args:
        error: The driver's error.
        tried: What was tried, as in `cannot <tried>`.
        address: The server.
        credentials: The login.
    Returns:
        A `ConfigError` if retrying is no use, otherwise, also for an unknown error, an `OutageError`.
    """
    where = f"PostgreSQL at {address.host}:{address.port}, database {credentials.database}"
    if error.sqlstate is None and isinstance(error, (psycopg.OperationalError, psycopg.ProgrammingError)):
        reason = _reason(error)
        for words, hint in CONNECT_MISTAKES.items():
            if re.search(words, reason):
                return ConfigError(f"cannot connect to {where} as {credentials.username}: {reason}", hint=hint)
        return OutageError(
            f"cannot {tried} in {where}: {reason}",
            hint="Check that PostgreSQL runs and that HEARTBEAT_POSTGRESQL__HOST and __PORT are its address.",
        )
    words = one_line(error)
    state = error.sqlstate or type(error).__name__
    if isinstance(error, (pg.UndefinedTable, pg.UndefinedFunction, pg.UndefinedColumn, pg.InvalidSchemaName)):
        return OutageError(f"cannot {tried} in {where}: {words}", hint=MISSING_SCHEMA_HINT)
    if isinstance(error, pg.InsufficientPrivilege):
        return OutageError(
            f"cannot {tried} in {where} as {credentials.username}: {words}",
            hint="As the owner of the tables, apply db/roles.sql, which gives the role its rights. The consumer then"
            " continues by itself.",
        )
    hint = "No message is lost: they wait in Kafka, and the consumer retries until it succeeds."
    if isinstance(error, pg.LockNotAvailable):
        hint = LOCKED_HINT
    elif isinstance(error, (pg.ObjectInUse, pg.RaiseException)):  # raised by a function of the schema
        hint = error.diag.message_hint or hint
    return OutageError(f"cannot {tried} in {where}: {words} (SQLSTATE {state})", hint=hint)


def _reason(error: psycopg.Error) -> str:
    """Return the server's message, or libpq's, from a text with an address before each attempt."""
    lines = without_secrets(str(error)).strip().splitlines() or [type(error).__name__]
    telling = (
        [line for line in lines if "FATAL:" in line] or [line for line in lines if "failed: " in line] or lines[:1]
    )
    words = telling[-1]
    for before in ("FATAL:", "failed: ", "connection is bad: "):
        words = words.rpartition(before)[2] or words
    return words.strip().rstrip(".")
