"""The consumer's own PostgreSQL end on a test's database, without a process around it."""

from typing import TypeVar

from pydantic import SecretStr

from common.settings import Consumer, Credentials, Event, PostgreSQL, Settings
from store.clocks import Clocks
from store.events import Events
from store.lag import Lag
from store.maintenance import Maintenance
from store.postgres import PostgresStore
from store.steps import Done
from tests.pipeline import Database

Store = TypeVar("Store", bound=PostgresStore)


def settings_on(database: Database, consumer: Consumer | None = None, event: Event | None = None) -> Settings:
    """Return settings whose PostgreSQL is the test's; no variable and no .env has a say."""
    server = database.server
    return Settings().model_copy(
        update={
            "postgresql": PostgreSQL(host=server.host, port=server.port),
            "consumer": consumer or Consumer(),
            "event": event or Event(),
        }
    )


def credentials_for(database: Database, role: tuple[str, str] | None = None) -> Credentials:
    """Return credentials for the test's database: a role's name and password, or the superuser's."""
    name, password = role or (database.server.superuser, database.server.password)
    return Credentials.model_construct(username=name, password=SecretStr(password), database=database.name)


def open_store(kind: type[Store], database: Database, consumer: Consumer | None = None) -> Store:
    """Make a store of this kind on the test's database."""
    return kind(settings_on(database, consumer), credentials_for(database))


def open_maintenance(
    database: Database,
    *,
    role: tuple[str, str] | None = None,
    clocks: Clocks | None = None,
    lag: Lag | None = None,
    events: Events | None = None,
    **consumer: int,
) -> Maintenance:
    """Make the maintenance without its thread: each step is called by the test. `role` is a name and its password."""
    return Maintenance(
        settings_on(database, Consumer(**consumer)),
        credentials_for(database, role),
        lag or Lag(),
        events or Events("consumer"),
        clocks,
    )


def run_step(maintenance: Maintenance, name: str) -> Done:
    """Run one step of the maintenance; return how it ended."""
    [step] = [step for step in maintenance.steps if step.name == name]
    return step.run()
