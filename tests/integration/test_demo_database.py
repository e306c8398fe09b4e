"""The demo's database after a change of .env: a password is taken over, another owner is refused with the way out."""

import psycopg
import pytest
from pydantic import SecretStr

from common.settings import Credentials
from demo.database import prepare
from local.errors import LocalServerError
from tests.pipeline import Database

pytestmark = pytest.mark.integration


def test_changed_password_and_database_are_taken_over_and_a_changed_owner_is_explained(own_database: Database) -> None:
    """The tables belong to the role that made them."""
    server = own_database.server
    first = Credentials(username="alice", password=SecretStr("one"), database="beats")
    prepare(server, first)
    for change in ({"password": SecretStr("it's $PATH")}, {"database": "beats_again"}):
        with psycopg.connect(prepare(server, first.model_copy(update=change))) as connection:
            assert connection.execute("SELECT count(*) FROM heartbeats").fetchone() == (0,)

    with pytest.raises(LocalServerError) as raised:
        prepare(server, first.model_copy(update={"username": "bob"}))

    assert "POSTGRESQL_USERNAME was changed" in raised.value.hint
    assert str(server.data_dir) in raised.value.hint
