"""A standby of a PostgreSQL server on loopback: a copy that follows it, and can be promoted."""

from collections.abc import Mapping
from pathlib import Path

from local.postgres import PostgresServer
from local.postgres_programs import invoke


class PostgresStandby(PostgresServer):
    """
    A server whose first start copies a primary that runs, and which follows that primary until it is promoted.

    Args:
        data_dir: As of any local server.
        primary: What it copies and follows; they have the same superuser and password.
        port: TCP port; None: any free one.
        settings: Over the server's own settings.
    """

    def __init__(
        self, data_dir: Path, primary: PostgresServer, port: int | None = None, *, settings: Mapping[str, str]
    ) -> None:
        super().__init__(data_dir, port, settings=settings)
        self._primary = primary

    def _fill(self, folder: Path, password: Path, lock: int) -> None:
        password.write_text(self._primary.password + "\n", encoding="ascii")
        backup = invoke("pg_basebackup", folder)
        primary = self._primary
        address = f"host={primary.host} port={primary.port} user={primary.superuser} application_name=standby"
        options = [f"--pgdata={backup.folder}", f"--dbname={address}", "--write-recovery-conf"]
        options += ["--checkpoint=fast", "--no-sync"]  # soon; nobody keeps it through a power cut
        self._run_step([*backup.command, *options], lock, purpose="copy the primary")

    def _environment(self) -> Mapping[str, str]:
        return {**super()._environment(), "PGPASSWORD": self._primary.password}
