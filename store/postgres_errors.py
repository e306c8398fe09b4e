"""What PostgreSQL's errors mean: a record is bad, a person has to act, or it is an outage to wait out."""

import re
from typing import Final

import psycopg
from psycopg import errors as pg

from common.errors import ConfigError, HeartbeatError, OutageError, one_line
from common.secrets import without_secrets
from common.settings import Credentials, PostgreSQL

OLD_VOLUME: Final = (
    "An existing volume keeps the names and the owner's password of its first start, whatever .env says now"
    ' (docs/production.md, "Secrets").'
)
# A refused connection carries no SQLSTATE, only words. Other words, and those of other languages, count as an outage.
CONNECT_MISTAKES: Final = {
    "no pg_hba.conf entry": "Let the server's pg_hba.conf admit this user, database and address.",
    # PgBouncer says SASL, or its own auth_type, for example "trust".
    r'(password|SASL|"\w+") authentication failed': "Set POSTGRESQL_USERNAME and POSTGRESQL_PASSWORD to what the server"
    f" knows. {OLD_VOLUME}",
    "no password supplied": "Set POSTGRESQL_PASSWORD.",
    r'role ".*" does not exist': f"Set POSTGRESQL_USERNAME to a role that exists (db/roles.sql). {OLD_VOLUME}",
    r'database ".*" does not exist': f"Set POSTGRESQL_DATABASE to a database that exists, or create it. {OLD_VOLUME}",
    "no such (database|user)": "Add it to the connection pooler's configuration, or correct the POSTGRESQL_ variables.",
    "^invalid |^bad value for": "Correct postgresql.libpq: it takes libpq's connection parameters.",
}
MISSING_SCHEMA_HINT: Final = (
    "As the owner of the tables, apply db/schema.sql and db/roles.sql by psql; the consumer goes on by itself."
)
LOCKED_HINT: Final = (
    "Another session holds a lock; it is tried again. If a transaction was forgotten, pg_stat_activity shows it (state"
    " 'idle in transaction')."
)


def is_taken_id(error: psycopg.Error) -> bool:
    """Return whether a row's place in Kafka is in the table already, as opposed to a unique index somebody added."""
    return isinstance(error, pg.UniqueViolation) and (error.diag.constraint_name or "").endswith("_pkey")


def is_partition_made_meanwhile(error: psycopg.Error) -> bool:
    """Return whether a row's day got its partition while the row was on its way to the default one: write it again."""
    is_bound = isinstance(error, pg.CheckViolation) and error.diag.constraint_name is None
    return is_bound and error.diag.table_name == "heartbeats_default"


def explain(error: psycopg.Error, tried: str, address: PostgreSQL, credentials: Credentials) -> HeartbeatError:
    """
    Say what a database error means for a person.

    Args:
        error: As the driver gave it.
        tried: What we tried, as in `cannot <tried>`.
        address: Where.
        credentials: As whom.
    Returns:
        A `ConfigError` where waiting is no use, otherwise an `OutageError`: what is not known here is waited out, too.
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
            hint="As the owner of the tables, apply db/roles.sql, which gives the role its rights; the consumer goes on"
            " by itself.",
        )
    hint = "Nothing is lost, the messages wait in Kafka; the consumer retries until it succeeds."
    if isinstance(error, pg.LockNotAvailable):
        hint = LOCKED_HINT
    elif isinstance(error, (pg.ObjectInUse, pg.RaiseException)):  # raised by a function of the schema
        hint = error.diag.message_hint or hint
    return OutageError(f"cannot {tried} in {where}: {words} (SQLSTATE {state})", hint=hint)


def _reason(error: psycopg.Error) -> str:
    """Take the server's own words, or libpq's, out of a text that begins with the address and may try several."""
    lines = without_secrets(str(error)).strip().splitlines() or [type(error).__name__]
    telling = (
        [line for line in lines if "FATAL:" in line] or [line for line in lines if "failed: " in line] or lines[:1]
    )
    words = telling[-1]
    for before in ("FATAL:", "failed: ", "connection is bad: "):
        words = words.rpartition(before)[2] or words
    return words.strip().rstrip(".")
