"""The schema, applied as a person does it: by psql. Its files include others, which no driver understands."""

import os
import re
import subprocess
from pathlib import Path
from typing import Final

from local.errors import LocalServerError
from local.postgres import PostgresServer
from local.postgres_programs import program

SCHEMA: Final = Path(__file__).resolve().parent.parent / "db" / "schema.sql"
AGAIN: Final = "Run it again: it continues where it stopped."
OTHER_OWNER: Final = (
    "If POSTGRESQL_USERNAME was changed since the first run, set it back: the tables belong to the earlier role."
    " Or delete {} to begin with an empty database."
)


def apply_schema(server: PostgresServer, database: str, user: str | None = None, password: str | None = None) -> None:
    """
    Create the tables in a new database, or upgrade those of an older one; as the superuser, unless a user is given.

    Raises:
        LocalServerError: PostgreSQL refuses a statement, or psql is missing or was killed.
    """
    where = {  # in the environment, not in arguments: every user can list those
        "PGHOST": server.host, "PGPORT": str(server.port), "PGDATABASE": database,
        "PGUSER": user or server.superuser, "PGPASSWORD": password or server.password,
    }  # fmt: skip
    done = subprocess.run(  # noqa: S603 - our own program and file
        [program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={SCHEMA}"],
        env=os.environ | where,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode < 0:
        raise LocalServerError(f"cannot apply {SCHEMA.name}: psql was killed by signal {-done.returncode}", hint=AGAIN)
    if done.returncode != 0:
        error = re.search(r"^psql:(.*):\d+: (?:ERROR|FATAL): +(.*)", done.stderr, re.MULTILINE)
        hint = re.search(r"^HINT: +(.*)", done.stderr, re.MULTILINE)
        file, reason = (Path(error[1]), error[2]) if error else (SCHEMA, done.stderr.strip())
        raise LocalServerError(
            f"cannot apply {file.name}: {reason}",
            hint=hint[1] if hint else OTHER_OWNER.format(server.data_dir),
        )
