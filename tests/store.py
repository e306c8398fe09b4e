"""The consumer's own PostgreSQL end on a test's database, without a process around it."""

from typing import TypeVar

from pydantic import SecretStr

from common.settings import Credentials, PostgreSQL, Settings
from consumer.postgres_store import PostgresStore
from tests.pipeline import Database

Store = TypeVar("Store", bound=PostgresStore)


def open_store(kind: type[Store], database: Database) -> Store:
    """Make a store of this kind; no variable and no .env has a say."""
    server = database.server
    settings = Settings().model_copy(update={"postgresql": PostgreSQL(host=server.host, port=server.port)})
    password = SecretStr(server.password)
    return kind(
        settings,
        Credentials.model_construct(username=server.superuser, password=password, database=database.name),
    )
