"""The commands of docs/production.md, "Backups": a dump taken while a consumer writes loses and repeats nothing."""

import os
import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier, Literal

from local.postgres_programs import program
from local.service import ROOT
from local.waiting import wait_until
from tests import roles
from tests.conftest import StartService
from tests.fault.test_servers_away import Feed
from tests.pipeline import Database, Topic
from tests.roles import PASSWORD, Roles

pytestmark = [pytest.mark.integration, pytest.mark.fault]

BROKEN = [(b"k", b"broken")] * 20


@dataclass
class Restore:
    """What a dump is restored with: an owner who is no superuser, as on a managed server, and the services' roles."""

    database: Database  # not made yet
    owner: dict[str, str]  # the environment of the owner's commands
    roles: Roles
    dump: Path

    def run(self, name: str, database: Database, **environment: str) -> None:
        """Run a program with the page's own arguments, as the schema job would on this database."""
        page = (ROOT / "docs" / "production.md").read_text(encoding="utf-8").replace("\\\n", "")
        command = re.search(rf"^docker compose .* schema\s+({name} .*)$", page, re.MULTILINE)
        assert command
        text = (
            command[1]
            .replace("heartbeat.dump", shlex.quote(str(self.dump)))
            .replace("heartbeat_restored", self.database.name)
        )
        server = database.server
        own = {
            "PATH": f"{Path(program(name)).parent}:{os.environ['PATH']}", "PGHOST": server.host,
            "PGPORT": str(server.port), "PGUSER": server.superuser, "PGPASSWORD": server.password,
            "PGDATABASE": database.name,
        }  # fmt: skip
        line = f"exec /bin/sh db/client.sh {text}"
        subprocess.run(["/bin/sh", "-c", line], cwd=ROOT, env=os.environ | own | environment, check=True)


@pytest.fixture
def restore(database: Database, tmp_path: Path) -> Iterator[Restore]:
    """Roles belong to the server: they go at the end, after the database in which they have rights."""
    owner, coming = f"owner_{uuid.uuid4().hex[:12]}", Database(database.server, f"{database.name}_restored")
    make = SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(Identifier(owner), Literal(PASSWORD))
    database.query(make.as_string())
    with roles.made_for(database) as named:
        yield Restore(coming, {"PGUSER": owner, "PGPASSWORD": PASSWORD}, named, tmp_path / "heartbeat.dump")
        coming.drop()
    database.query(SQL("DROP ROLE {}").format(Identifier(owner)).as_string())


def test_dump_taken_while_a_consumer_writes_is_restored_and_goes_on(
    start: StartService, topic: Topic, database: Database, restore: Restore
) -> None:
    """One snapshot holds rows and offsets; what came later is read from Kafka again, by the role that only stores."""
    topic.create()
    topic.send(BROKEN)
    with Feed(topic) as feed:
        consumer = start("consumer", **restore.roles.as_consumer)
        wait_until(lambda: database.count() > 1000)
        restore.run("pg_dump", database)
        wait_until(lambda: database.count() > 5000)
        consumer.end()
    restored = restore.database
    restore.run("createdb", database, **restore.owner)
    restore.run("pg_restore", database, **restore.owner)
    assert 1000 < restored.count() < 5000
    assert len(restored.rejected()) == len(BROKEN)
    roles.apply(restore.roles, restored, "schema.sql", "roles.sql")
    where = {"POSTGRESQL_DATABASE": restored.name, **restore.roles.as_consumer}
    again = start("consumer", **where)
    wait_until(lambda: restored.passed() == topic.ends(), within_s=60)

    assert again.stop() == 0
    assert restored.lost_and_surplus(feed.sent) == ([], [])
    assert start("consumer", "verify", "--full", **where).wait() == 0
