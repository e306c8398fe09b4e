"""A session that waits is cut if its addresses lead to another server now, and only then."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from common.errors import OutageError
from common.settings import Credentials, PostgreSQL, Settings
from local.ports import find_free_port
from local.waiting import wait_until
from store.session import Session
from tests.fault.test_servers_away import Proxy
from tests.pipeline import Database
from tests.store import credentials_for

pytestmark = [pytest.mark.integration, pytest.mark.fault]


def session_to(ports: str, credentials: Credentials) -> Session:
    address = PostgreSQL.model_validate({"host": ",".join(["127.0.0.1"] * len(ports.split(","))), "port": ports})
    return Session(Settings().model_copy(update={"postgresql": address}), credentials, "heartbeat-consumer")


def wait_in(session: Session, seconds: float) -> None:
    session.run("wait", lambda connection: connection.execute("SELECT pg_sleep(%s), 'it waits'", (seconds,)))


def is_waiting(database: Database) -> bool:
    return bool(database.query("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))


def test_session_is_cut_when_its_address_has_passed_to_another_server(
    database: Database, own_database: Database
) -> None:
    """As with a virtual address or a DNS name: the server that it left may hang, and then no timeout applies."""
    own_database.query(f"CREATE DATABASE {database.name}")
    own_database.query(f"ALTER ROLE {own_database.server.superuser} PASSWORD '{database.server.password}'")
    (own_database.server.data_dir / "password").write_text(database.server.password)
    relay = Proxy(own_database.server.port)
    session = session_to(str(relay.port), credentials_for(database))
    with closing(relay), closing(session), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_in, session, 20)
        wait_until(lambda: is_waiting(own_database))
        relay.target = database.server.port
        session.terminate_blockers()

        with pytest.raises(OutageError):
            waiting.result(timeout=5)


def test_session_is_not_cut_when_its_server_has_a_second_address(database: Database) -> None:
    """As with two poolers before one server, the first of which is back: a slow write is no fault."""
    port = find_free_port()
    session = session_to(f"{port},{database.server.port}", credentials_for(database))
    with closing(session), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait_in, session, 3)
        wait_until(lambda: is_waiting(database))
        with closing(Proxy(database.server.port, port)):
            session.terminate_blockers()
            waiting.result(timeout=10)
