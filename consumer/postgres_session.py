"""One session with PostgreSQL: opened when it is needed, opened again after it was lost."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg

from common.settings import Credentials, Settings
from consumer.postgres_errors import explain

T = TypeVar("T")

# A server that is gone is noticed within seconds; whoever waits for somebody else's lock gives up and tries again.
CONNECTION: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # ms
    "client_encoding": "UTF8",
}
SESSION: Final = (
    "-c TimeZone=UTC -c default_transaction_isolation=read\\ committed -c lock_timeout=10s -c statement_timeout=60s"
    " -c idle_in_transaction_session_timeout=60s -c tcp_user_timeout=10s"
)
# A stalled consumer inside COPY holds ids that its successor waits for, and its backend heeds no timeout.
# Only sessions of our own kind and role are ended; that is harmless, for the books tell them that they are late.
END_BLOCKERS: Final = """
SELECT pg_terminate_backend(pid)
FROM unnest(pg_blocking_pids(%(backend)s)) AS pid JOIN pg_stat_activity USING (pid)
WHERE usename = current_user AND application_name = %(name)s
"""


class Session:
    """
    A connection that comes back.

    Args:
        settings: Address and libpq parameters.
        credentials: Who we are.
        name: The application's name that PostgreSQL shows.
        limits: Server options that go over the usual ones.
    """

    def __init__(self, settings: Settings, credentials: Credentials, name: str, limits: str = "") -> None:
        self._settings = settings
        self._credentials = credentials
        self._name = name
        self._limits = limits
        self._connection: psycopg.Connection | None = None

    def run(self, tried: str, action: Callable[[psycopg.Connection], T]) -> T:
        """
        Do something on the connection, which commits by itself outside of transactions.

        Args:
            tried: What is tried, for the error: `cannot <tried>`.
            action: Gets the connection; what it raises besides psycopg's errors passes through.
        Raises:
            OutageError, ConfigError: What PostgreSQL's error means. The connection is opened anew next time.
        """
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            return action(self._connection)
        except psycopg.Error as error:
            self.close()
            raise explain(error, tried, self._settings.postgresql, self._credentials) from error

    def end_blockers(self) -> int:
        """
        End the sessions of our own kind that this one waits for; called from another thread.

        Returns:
            How many were ended; 0 also when the database does not answer, as the lock has a timeout of its own.
        """
        blocked = self._connection
        if blocked is None or blocked.closed:
            return 0
        try:
            with self._connect() as helper:
                return helper.execute(END_BLOCKERS, {"backend": blocked.info.backend_pid, "name": self._name}).rowcount
        except psycopg.Error:
            return 0

    def close(self) -> None:
        """Close the connection; the server rolls an open transaction back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> psycopg.Connection:
        address, consumer = self._settings.postgresql, self._settings.consumer
        durable = "on" if consumer.synchronous_commit else "off"
        parameters: dict[str, Any] = {
            **CONNECTION,
            "host": address.host,
            "port": address.port,
            "user": self._credentials.username,
            "password": self._credentials.password.get_secret_value(),
            "dbname": self._credentials.database,
            "application_name": self._name,
            "options": f"{SESSION} -c synchronous_commit={durable} {self._limits}",
            **address.libpq,
        }
        return psycopg.connect(psycopg.conninfo.make_conninfo(**parameters), autocommit=True)
