"""The demo's database: what is shown of its people, and what a change of .env does."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pydantic import SecretStr

from common.settings import Credentials
from demo.database import prepare
from demo.figures import RATES, Alarm, Gauge
from demo.finish import alarms
from local.errors import LocalServerError
from tests.pipeline import Database, Topic

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


def test_people_in_alarm_are_shown_first_with_their_rates_and_counted_at_the_end(
    topic: Topic, database: Database
) -> None:
    """An alarm is news; an ordinary heart rate is not. Alarms of an earlier run are not counted."""
    topic.create()
    database.query("""
        INSERT INTO heartbeats (customer_id, "timestamp", heart_rate)
        SELECT 'person ' || n, now() - make_interval(secs => s), 70 + n
        FROM generate_series(0, 7) AS n, generate_series(1, 200) AS s""")
    now = datetime.now(UTC)
    since = now - timedelta(seconds=70)
    opened = "INSERT INTO alarms (customer_id, kind, started_at, noticed_at, value) VALUES (%s, %s, %s, %s, 44)"
    database.query(opened, "person 1", "low", since, now)

    with Gauge(topic.server.bootstrap_servers, database.conninfo, topic.name) as gauge:
        none = list(alarms(gauge))
        first = gauge.look()
        for number in range(7, 5, -1):
            database.query(opened, f"person {number}", "high", since, now)
        then = gauge.look()
        database.query("UPDATE alarms SET ended_at = %s WHERE customer_id IN ('person 1', 'person 7')", now)
        said = list(alarms(gauge))
        database.query("UPDATE alarms SET ended_at = %s", now)
        last = list(alarms(gauge))

    assert none[0].startswith("no alarm was opened or ended in this run; for more: HEARTBEAT_PRODUCER__")
    assert list(first.rates) == ["person 1", "person 0", "person 2", "person 3", "person 4"]
    assert first.alarms == [Alarm("person 1", "low", since, 44)]
    pairs = first.rates["person 0"]
    assert {bpm for _, bpm in pairs} == {70}
    assert -185 < pairs[0][0] < -170
    assert pairs == sorted(pairs)
    assert 35 <= len(pairs) <= 38
    assert list(then.rates) == ["person 1", "person 6", "person 7", "person 3", "person 4"]
    assert then.open_alarms == {"high": 2, "low": 1}
    assert said == [
        "alarms of this run: 2 (high 2) opened, 2 (high 1, low 1) ended",
        "in alarm now: 1 (high 1)",
        f"  person 6 high since {since.astimezone():%Y-%m-%d %H:%M:%S}, 44 bpm",
        "  all of them, while the demo runs: SELECT * FROM alarms WHERE ended_at IS NULL",
    ]
    assert last[1:] == ["no one is in alarm"]


def test_rates_of_five_people_are_found_by_the_index(database: Database) -> None:
    """The picture is drawn each second: it must not read the rows of all people, or of other days."""
    statement = """INSERT INTO heartbeats (customer_id, "timestamp", heart_rate)
        SELECT 'CUST-' || n % 500, now() - make_interval(secs => n / 500), 70 FROM generate_series(0, 50000) AS n"""
    database.query(statement)
    database.query("VACUUM (ANALYZE) heartbeats")

    plan = "\n".join(str(row[0]) for row in database.query(f"EXPLAIN (ANALYZE, BUFFERS) {RATES}", ["CUST-1", "CUST-2"]))

    assert "Seq Scan" not in plan, plan
    assert "customer_id_timestamp" in plan, plan
