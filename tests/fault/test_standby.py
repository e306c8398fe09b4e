"""PostgreSQL's primary is lost, hangs or is abandoned: its standby continues, and nothing is lost or stored twice."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from local.postgres import PostgresServer
from local.postgres_standby import PostgresStandby
from local.schema import apply_schema
from local.service import Service
from local.waiting import wait_until
from tests.conftest import StartService
from tests.fault.test_hanging_servers import hanging
from tests.pipeline import Database, Topic

pytestmark = [pytest.mark.integration, pytest.mark.fault]
NO_POWER_CUT = {"fsync": "off", "full_page_writes": "off"}
PAUSE_S = 30.0  # at most, from the promotion until rows are stored again


@dataclass
class Pair:
    """The heartbeats' database, on a primary and on its standby."""

    primary: Database
    standby: Database

    @property
    def servers(self) -> tuple[PostgresServer, PostgresServer]:
        return self.primary.server, self.standby.server

    def addresses(self, *servers: PostgresServer) -> dict[str, str]:
        """Return the settings of a service that knows both, in this order."""
        servers = servers or self.servers
        return {
            "HEARTBEAT_POSTGRESQL__HOST": ",".join(server.host for server in servers),
            "HEARTBEAT_POSTGRESQL__PORT": ",".join(str(server.port) for server in servers),
            "POSTGRESQL_PASSWORD": servers[0].password,
            "POSTGRESQL_DATABASE": self.primary.name,
        }

    def wait_for_commits(self) -> None:
        """Have each commit on the primary wait until the standby has it."""
        self.primary.query("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.query("SELECT pg_reload_conf()")
        wait_until(lambda: self.primary.query("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"))

    def promote(self) -> None:
        """Make the standby a primary, as docs/production.md says."""
        assert self.standby.query("SELECT pg_promote()") == [(True,)]
        self.standby.query("ALTER SYSTEM RESET synchronous_standby_names")
        self.standby.query("SELECT pg_reload_conf()")

    def swap(self) -> None:
        """Let the old primary return as the standby of the new one: with a new copy, for it may have had more rows."""
        folder = self.primary.server.data_dir
        old = PostgresStandby(
            folder.with_name(f"{folder.name}-again"),
            self.standby.server,
            self.primary.server.port,
            settings=NO_POWER_CUT,
        )
        self.primary, self.standby = self.standby, replace(self.primary, server=old)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Asynchronous at first."""
    primary = PostgresServer(tmp_path / "postgres-1", settings=NO_POWER_CUT)
    standby = PostgresStandby(tmp_path / "postgres-2", primary, settings=NO_POWER_CUT)
    with primary:
        with psycopg.connect(primary.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE heartbeats")
        apply_schema(primary, "heartbeats")
        with standby:
            yield Pair(Database(primary, "heartbeats"), Database(standby, "heartbeats"))


def rows_after(began: float, database: Database, count: int) -> None:
    """Wait until so many rows are there, and say how long that took."""
    wait_until(lambda: database.count() >= count, within_s=PAUSE_S, what=f"{count} rows")
    print(f"rows again after {time.monotonic() - began:.1f} s")


def check_whole(producer: Service, database: Database, topic: Topic) -> None:
    """Stop the producer; what it sent is in the table once."""
    assert producer.stop() == 0
    [stopped] = producer.events("service stopped")
    wait_until(lambda: database.passed() == topic.ends())
    [counts] = database.query('SELECT count(*), count(DISTINCT (customer_id, "timestamp")) FROM heartbeats')

    assert counts == (stopped["sent"], stopped["sent"])


def test_synchronous_standby_replaces_a_killed_primary_and_the_old_one_returns(
    start: StartService, topic: Topic, pair: Pair
) -> None:
    """What the primary had confirmed, the standby has; and in the end the first server is the primary again."""
    pair.wait_for_commits()
    producer = start("producer")
    consumer = start("consumer", **pair.addresses())
    with contextlib.ExitStack() as servers:
        for _ in range(2):
            wait_until(lambda: pair.primary.count() > 1000)
            confirmed = pair.primary.passed()
            began = time.monotonic()
            pair.primary.server.kill()
            held = pair.standby.passed()
            pair.promote()
            rows_after(began, pair.standby, pair.standby.count() + 1000)
            assert all(held[partition] >= offset for partition, offset in confirmed.items())
            pair.swap()
            servers.enter_context(pair.standby.server)
            pair.wait_for_commits()
        check_whole(producer, pair.primary, topic)

    assert consumer.process.poll() is None


def test_what_a_lagging_standby_lacks_is_read_again(start: StartService, topic: Topic, pair: Pair) -> None:
    """An asynchronous standby lacks the last rows and, with them, their ledger: the consumer goes back with it."""
    topic.create()
    start("consumer", **pair.addresses())
    sent = topic.send_heartbeats(1000)
    wait_until(lambda: pair.standby.count() == 1000)
    pair.standby.query("ALTER SYSTEM SET primary_conninfo = ''")  # the network between the two is cut
    pair.standby.query("SELECT pg_reload_conf()")
    wait_until(lambda: not pair.primary.query("SELECT 1 FROM pg_stat_replication"))
    sent += topic.send_heartbeats(1000, seed=8)
    wait_until(lambda: pair.primary.passed() == topic.ends())
    pair.primary.server.kill()
    assert pair.standby.count() == 1000
    pair.promote()
    sent += topic.send_heartbeats(1000, seed=9)
    wait_until(lambda: pair.standby.passed() == topic.ends())

    assert pair.standby.lost_and_surplus(sent) == ([], [])


def test_consumer_leaves_a_primary_that_hangs_once_its_standby_is_promoted(
    start: StartService, topic: Topic, pair: Pair
) -> None:
    """Its connection stays open, and no timeout of the server applies: the consumer would wait for good."""
    topic.create()
    start("consumer", **pair.addresses())
    sent = topic.send_heartbeats(1000)
    wait_until(lambda: pair.standby.count() == 1000)
    with hanging(pair.primary.server.pid):
        sent += topic.send_heartbeats(1000, seed=8)
        began = time.monotonic()
        pair.promote()
        rows_after(began, pair.standby, 2000)
    pair.primary.server.kill()
    sent += topic.send_heartbeats(1000, seed=9)
    wait_until(lambda: pair.standby.passed() == topic.ends())

    assert pair.standby.lost_and_surplus(sent) == ([], [])


def test_ledger_of_an_abandoned_primary_does_not_matter(start: StartService, topic: Topic, pair: Pair) -> None:
    """Both accept rows for a moment; what only the abandoned one has is read again when it is stopped."""
    topic.create()
    first, second = pair.servers
    start("consumer", **pair.addresses(first, second))
    sent = topic.send_heartbeats(1000)
    wait_until(lambda: pair.standby.count() == 1000)
    pair.promote()
    sent += topic.send_heartbeats(1000, seed=8)
    wait_until(lambda: pair.primary.count() == 2000)
    start("consumer", **pair.addresses(second, first))  # takes over a half of the partitions, from another ledger
    wait_until(lambda: pair.standby.count() > 1000)
    sent += topic.send_heartbeats(1000, seed=9)
    wait_until(lambda: pair.primary.count() > 2000)
    assert pair.standby.count() < 3000
    pair.primary.server.kill()
    sent += topic.send_heartbeats(1000, seed=10)  # a consumer notices the loss when it writes
    wait_until(lambda: pair.standby.passed() == topic.ends(), within_s=PAUSE_S)

    assert pair.standby.lost_and_surplus(sent) == ([], [])
