"""The commands of docs/production.md, "Backups": a dump taken while a consumer writes loses and repeats nothing."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from psycopg.sql import SQL, Identifier, Literal

from tests import roles
from tests.conftest import StartService
from tests.fault.test_servers_away import Feed
from tests.pipeline import Database, Topic, eventually
from tests.roles import PASSWORD, Roles, client

pytestmark = [pytest.mark.integration, pytest.mark.fault]

BROKEN = [(b"k", b"broken")] * 20


@dataclass
class Restore:
    """What a dump is restored with: an owner who is no superuser, as on a managed server, and the services' roles."""

    database: Database  # not made yet
    owner: dict[str, str]  # the environment of the owner's commands
    roles: Roles
    dump: str


@pytest.fixture
def restore(database: Database, tmp_path: Path) -> Iterator[Restore]:
    """Roles belong to the server: they go at the end, after the database in which they have rights."""
    owner, coming = f"owner_{uuid.uuid4().hex[:12]}", Database(database.server, f"{database.name}_restored")
    make = SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(Identifier(owner), Literal(PASSWORD))
    database.query(make.as_string())
    with roles.made_for(database) as named:
        yield Restore(coming, {"PGUSER": owner, "PGPASSWORD": PASSWORD}, named, str(tmp_path / "heartbeat.dump"))
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
        eventually(lambda: database.count() > 1000)
        client("pg_dump", database, "-Fc", "-f", restore.dump)
        eventually(lambda: database.count() > 5000)
        consumer.end()
    restored = restore.database
    client("createdb", database, restored.name, **restore.owner)
    options = ["--exit-on-error", "--no-owner", "--no-privileges"]
    client("pg_restore", restored, *options, "-d", restored.name, restore.dump, **restore.owner)
    assert 1000 < restored.count() < 5000
    assert len(restored.rejected()) == len(BROKEN)
    roles.apply(restore.roles, restored, "schema.sql", "roles.sql")
    where = {"POSTGRESQL_DATABASE": restored.name, **restore.roles.as_consumer}
    again = start("consumer", **where)
    eventually(lambda: restored.passed() == topic.ends(), within_s=60)

    assert again.stop() == 0
    assert restored.lost_and_surplus(feed.sent) == ([], [])
    assert start("consumer", "verify", "--full", **where).wait() == 0
