"""What several integration tests share."""

from collections.abc import Iterator

import pytest

from tests.fleet import Fleet
from tests.pipeline import Database


@pytest.fixture
def fleet(database: Database) -> Iterator[Fleet]:
    with database.connect() as connection:
        yield Fleet(connection)
