"""One session with PostgreSQL, which opens when it is needed, and again after it was lost."""

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import psycopg

from common.errors import ConfigError
from common.settings import Credentials, Settings
from contracts.load import contract_of
from store.postgres_errors import explain

T = TypeVar("T")

# These notice a lost server within seconds.
CONNECTION: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # ms
    "client_encoding": "UTF8",
}
# Set after connecting, because a pooler takes no startup options. They override the settings of role, database and
# server, such as another DateStyle.
SESSION: Final[Mapping[str, str]] = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "default_transaction_isolation": "read committed",
    "lock_timeout": "10s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
    "tcp_user_timeout": "10s",
}
# One round trip sets up a session. Behind a pooler, the backend is not the one that the client was told. Then nothing
# is set yet, because the pooler's other clients might get this backend.
# Row level security fails a COPY and hides rows of the ledger. It applies to our role, and, if it is forced, to the
# owner, as whom the functions run.
SET_UP: Final = r"""
SELECT pg_backend_pid(), (
    SELECT string_agg(format('%%I from %%I', relname, CASE WHEN is_ours THEN current_user ELSE rolname END), ', '
                      ORDER BY relname)
    FROM (SELECT relname, relowner, relrowsecurity AND relforcerowsecurity AS is_forced,
                 row_security_active(oid) AND relname = ANY (%(tables)s::text[]) AS is_ours
          FROM pg_class
          WHERE relrowsecurity
            AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('heartbeats'))
            AND (relname = ANY (%(tables)s::text[])
                 OR relname ~ '^heartbeats_(default|old|outdated|horizon|per_minute|per_customer|fleet|[0-9]{8})$'
                 OR relname IN ('alarms', 'alarm_people', 'alarm_positions'))
         ) AS guarded JOIN pg_roles AS owner ON owner.oid = relowner
    WHERE is_ours OR is_forced AND NOT (rolsuper OR rolbypassrls)
), (
    SELECT count(set_config(name, value, false))
    FROM unnest(%(names)s::text[], %(values)s::text[]) AS setting (name, value) WHERE pg_backend_pid() = %(backend)s
), extract(epoch FROM pg_postmaster_start_time())::text
"""
TABLES: Final = [
    "heartbeats", "rejected_heartbeats", "kafka_topics", "kafka_ledger", "kafka_log_ends", "heartbeats_touched",
    "pipeline_events", "retention_floor", "daily_tables", "forgotten",
]  # fmt: skip
BACKEND: Final = "SELECT pg_backend_pid()"
# Tells servers apart. An address does not: it can pass to another server, and one server can have two.
STARTED: Final = "SELECT extract(epoch FROM pg_postmaster_start_time())::text"  # whatever the DateStyle
# A stalled consumer inside COPY holds row ids that its successor waits for, and no timeout reaches its backend. Only
# sessions with our application name and role are terminated. That is safe: the ledger's fence rejects what they retry.
TERMINATE_BLOCKERS: Final = """
SELECT pg_terminate_backend(pid)
FROM unnest(pg_blocking_pids(%(backend)s)) AS pid JOIN pg_stat_activity USING (pid)
WHERE usename = current_user AND application_name = %(name)s
"""


class Session:
    """
    A connection that reopens by itself.

    Args:
        settings: Address and libpq parameters.
        credentials: The login.
        name: The application name that PostgreSQL shows.
        limits: Server settings that override `SESSION`.
    """

    def __init__(
        self, settings: Settings, credentials: Credentials, name: str, limits: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings
        self._credentials = credentials
        self._name = name
        durable = "on" if settings.consumer.synchronous_commit else "off"
        self._session = {**SESSION, "synchronous_commit": durable, **(limits or {})}
        self._connection: psycopg.Connection | None = None
        self._backend = 0  # its process id; behind a pooler, the client has another one
        self._started = ""  # when its server started

    def run(self, tried: str, action: Callable[[psycopg.Connection], T]) -> T:
        """
        Run an action on the connection, which is in autocommit mode.

        Args:
            tried: What is tried, for the error: `cannot <tried>`.
            action: Gets the connection. Its errors pass through, except psycopg's.
        Raises:
            OutageError, ConfigError: The meaning of psycopg's error. The next call opens a new connection.
        """
        try:
            if self._connection is None or self._connection.closed:
                self._connection, self._backend, self._started = self._open()
            return action(self._connection)
        except psycopg.Error as error:
            self.close()
            raise explain(error, tried, self._settings.postgresql, self._credentials) from error

    def terminate_blockers(self) -> int:
        """
        Terminate the sessions with our name and role that block this one; called from another thread.

        If our addresses lead to another server now, this session's server hangs or was abandoned. Then its connection
        is cut, because no timeout would end it.

        Returns:
            Their number; 0 also if the database does not answer: the lock has a timeout, too.
        """
        blocked = self._connection
        if blocked is None or blocked.closed:
            return 0
        try:
            with self._connect() as helper:
                if helper.execute(STARTED).fetchone() != (self._started,):
                    _cut(blocked)
                    return 0
                return helper.execute(TERMINATE_BLOCKERS, {"backend": self._backend, "name": self._name}).rowcount
        except psycopg.Error:
            return 0

    def close(self) -> None:
        """Close the connection; the server rolls back an open transaction."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> tuple[psycopg.Connection, int, str]:
        """
        Connect and set the session up.

        Returns:
            The connection, the process id of its backend, and when its server started.
        Raises:
            ConfigError: Row level security applies, or a pooler shares the session.
        """
        connection = self._connect()
        try:
            backend, started = self._set_up(connection, connection.info.backend_pid)
            if backend != connection.info.backend_pid:
                self._refuse_shared(connection, backend)
                connection.prepare_threshold = None
                self._set_up(connection, backend)
        except BaseException:
            connection.close()
            raise
        return connection, backend, started

    def _set_up(self, connection: psycopg.Connection, backend: int) -> tuple[int, str]:
        """Apply the session's settings if it runs on this backend; return its backend, and when the server started."""
        names, values = list(self._session), list(self._session.values())
        tables = [*TABLES, contract_of(self._settings.event).table]
        given = {"tables": tables, "names": names, "values": values, "backend": backend}
        found, hidden, _, started = connection.execute(SET_UP, given).fetchone() or (0, None, 0, "")
        if hidden:
            raise ConfigError(
                f"cannot use {self._where}: row level security hides {hidden}",
                hint="Exempt the role (ALTER ROLE ... BYPASSRLS), or ALTER TABLE ... DISABLE ROW LEVEL SECURITY.",
            )
        return int(found), started

    def _refuse_shared(self, connection: psycopg.Connection, backend: int) -> None:
        """
        Raise unless a pooler reserves our backend between our transactions.

        A pooler that shares sessions gives an idle one to the next client. In a busy pool, this check can miss that. No
        row depends on it, and the next connection checks again.
        """
        with self._connect() as other:
            try:
                with other.transaction():
                    theirs = other.execute(BACKEND).fetchone()
                    ours = connection.execute(BACKEND).fetchone()
            except psycopg.OperationalError as error:
                if "statement pooling" not in str(error):
                    raise
            else:
                if ours == (backend,) != theirs:
                    return
        raise ConfigError(
            f"cannot use the connection pooler at {self._where}: it gives our session to other clients",
            hint="Connect to PostgreSQL directly, or use session pooling (PgBouncer: pool_mode = session).",
        )

    @property
    def _where(self) -> str:
        address = self._settings.postgresql
        return f"{address.host}:{address.port}, database {self._credentials.database}"

    def _connect(self) -> psycopg.Connection:
        address = self._settings.postgresql
        parameters: dict[str, Any] = {
            **CONNECTION,
            "host": address.host,
            "port": address.port,
            "user": self._credentials.username,
            "password": self._credentials.password.get_secret_value(),
            "dbname": self._credentials.database,
            "application_name": self._name,
            "options": "",  # overrides PGOPTIONS
            # Of several hosts, the primary; after a failover, the first one may be the standby.
            "target_session_attrs": "read-write" if "," in address.host else "any",
            **address.libpq,
        }
        return psycopg.connect(psycopg.conninfo.make_conninfo(**parameters), autocommit=True)


def _cut(connection: psycopg.Connection) -> None:
    """End a connection that another thread waits for: that thread gets an error. `close` would not wake it up."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
