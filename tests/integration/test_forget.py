"""
`python -m consumer forget`: erases people, in the tables and from what is read later.

More than 250 lines: all of it is about one person among a thousand heartbeats.
"""

import json
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from confluent_kafka import TopicPartition

from examples.orders.contract import ORDERS
from examples.orders.producer import order
from local.service import ROOT
from local.waiting import wait_until
from tests import roles as test_roles
from tests.conftest import StartService
from tests.events import prepare
from tests.pipeline import Database, Row, Topic, encode, heartbeats, settings_for

pytestmark = pytest.mark.integration

WHO: Final = "CUST-000007"
LEFT: Final = "SELECT count(*) FROM {} WHERE customer_id = 'CUST-000007'"
TALLIES: Final = "SELECT sum(stored), sum(rejected), sum(erased) FROM kafka_ledger"
# What a re-read does: the rows go, and the ledger is where it began.
READ_AGAIN: Final = """
WITH gone AS (DELETE FROM heartbeats), bad AS (DELETE FROM rejected_heartbeats)
UPDATE kafka_ledger SET next_offset = start_offset, stored = 0, rejected = 0, erased = 0, replayed = 0,
                        last_offset = NULL, last_fingerprint = NULL
"""
BAD: Final[list[tuple[bytes | None, bytes]]] = [
    (WHO.encode(), b"\x00\x01 unreadable"),
    (None, f'{{"customer_id": "{WHO}", "heart_rate": 7'.encode()),
    (b"CUST-000008", f'{{"customer_id": "{WHO}", "heart_rate": 0}}'.encode()),
]
OTHER_BAD: Final[list[tuple[bytes | None, bytes]]] = [
    (b"CUST-000008", b"broken"),
    (None, b'{"customer_id": "CUST-0000071"}'),
]


def left(database: Database) -> list[int]:
    """Return what there is of the person, in each table that has a column for people."""
    tables = ("heartbeats", "heartbeats_per_minute", "heartbeats_per_customer", "alarms", "alarm_people")
    return [database.query(LEFT.format(table))[0][0] for table in tables]


def roll_up(database: Database) -> None:
    database.query("UPDATE heartbeats_touched SET noted_at = now() - interval '1 h'")
    # A consumer's maintenance may have taken the notes already.
    database.query("UPDATE heartbeats_outdated SET first_noted_at = now() - interval '1 h'")
    wait_until(lambda: database.query("SELECT refresh_rollups(1000)") == [(0,)], what="all minutes summed up")


def fleet_readings(database: Database) -> dict[int, int]:
    return dict(database.query("SELECT width_s, sum(readings)::bigint FROM heartbeats_fleet GROUP BY 1"))


@pytest.fixture
def stored(start: StartService, topic: Topic, database: Database) -> list[Row]:
    """A thousand heartbeats of a hundred people within two minutes, bad messages, rollups, alarms."""
    topic.create()
    begin = (datetime.now(UTC) - timedelta(minutes=2)).replace(second=0)
    rows = [
        (who, at + timedelta(seconds=n // 10), bpm) for n, (who, at, bpm) in enumerate(heartbeats(1000, start=begin))
    ]
    topic.send([*((row[0].encode(), encode(row)) for row in rows), *BAD, *OTHER_BAD])
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends(), what="all messages passed")
    consumer.stop()
    roll_up(database)
    database.query(
        "INSERT INTO alarms SELECT customer_id, 'stuck', now(), now(), NULL, 70 FROM heartbeats GROUP BY customer_id"
    )
    database.query(
        "INSERT INTO alarm_people (customer_id, partition_id, first_at, seen_at, bpm, side, side_since)"
        " SELECT customer_id, 1, now(), now(), 70, 0, now() FROM heartbeats GROUP BY customer_id ON CONFLICT DO NOTHING"
    )
    return rows


def test_nothing_is_left_of_a_person_and_everything_of_the_others(
    stored: list[Row], start: StartService, database: Database
) -> None:
    """By the Kafka key and by what the payload says; the ledger tells what happened to each offset."""
    assert min(left(database)) > 0
    forget = start("consumer", "forget", WHO)
    assert forget.wait() == 0
    assert left(database) == [0] * 5
    roll_up(database)

    others = [row for row in stored if row[0] != WHO]
    assert "1 people were erased: 10 rows of heartbeats, 3 quarantined messages" in forget.text()
    assert WHO not in forget.text()
    assert database.lost_and_surplus(others) == ([], [])
    assert {payload for _, _, payload in database.rejected()} == {payload for _, payload in OTHER_BAD}
    assert database.query(TALLIES) == [(990, 2, 13)]
    assert set(fleet_readings(database).values()) == {990}
    assert database.query("SELECT count(*) FROM alarms") == [(99,)]
    assert start("consumer", "verify", "--full").wait() == 0


@pytest.mark.usefixtures("stored")
def test_dry_run_says_the_same_and_changes_nothing(start: StartService, database: Database) -> None:
    """Looking first is free."""
    before = left(database)
    dry = start("consumer", "forget", "--dry-run", "--json", WHO, "CUST-000008")
    assert dry.wait() == 0
    unchanged = left(database) == before and database.query("SELECT count(*) FROM forgotten") == [(0,)]
    real = start("consumer", "forget", "--json", WHO, "CUST-000008", WHO)
    assert real.wait() == 0

    said, done = json.loads(dry.text()), json.loads(real.text())
    assert unchanged
    assert said.pop("dry_run")
    assert not done.pop("dry_run")
    (until,) = said.pop("kafka_holds_until").values()
    (until_later,) = done.pop("kafka_holds_until").values()
    assert datetime.now(UTC) + timedelta(days=7) < datetime.fromisoformat(until) <= datetime.fromisoformat(until_later)
    assert said == done
    assert {**said, "rollups": 0} == {
        "people": 2, "rows": 20, "quarantined": 4, "rollups": 0, "alarms": 2, "topics_not_found": [],
    }  # fmt: skip


def test_messages_that_kafka_still_holds_are_not_stored_when_they_are_read_again(
    stored: list[Row], start: StartService, topic: Topic, database: Database
) -> None:
    """A consumer that runs all the time obeys. What the person sends later is a new matter."""
    consumer = start("consumer")
    assert start("consumer", "forget", WHO).wait() == 0
    consumer.stop()
    database.query(READ_AGAIN)
    later = [(WHO, datetime.now(UTC), 70 + n) for n in range(5)]
    topic.send((row[0].encode(), encode(row)) for row in later)
    again = start("consumer")
    wait_until(lambda: database.passed() == topic.ends(), what="all messages passed again")
    again.stop()

    assert database.lost_and_surplus([*(row for row in stored if row[0] != WHO), *later]) == ([], [])
    assert database.query(TALLIES) == [(995, 2, 13)]
    assert start("consumer", "verify", "--full").wait() == 0


@pytest.mark.usefixtures("stored")
def test_name_that_no_replay_may_store_is_gone_from_the_quarantine_first(
    start: StartService, database: Database
) -> None:
    """A replay that runs at the same time moves messages out of the quarantine: into the rows, which come after."""
    database.query(
        "UPDATE rejected_heartbeats SET payload = convert_to(format("
        '\'{"customer_id": "%s", "timestamp": "%s", "heart_rate": 70}\', \'CUST-000007\', \'2026-11-01T00:00:00Z\'),'
        " 'UTF8')"
    )
    database.query("UPDATE rejected_heartbeats SET payload_length = length(payload)")
    both = [start("consumer", "forget", WHO), start("consumer", "replay")]

    assert [command.wait() for command in both] in ([0, 0], [0, 1])  # 1: "messages vanished", run it again
    assert left(database)[0] == 0
    assert database.rejected() == []
    assert database.query(TALLIES) == [(990, 0, 15)]
    assert start("consumer", "verify", "--full").wait() == 0


@pytest.mark.parametrize(
    "held",
    [
        "LOCK TABLE rejected_turn IN EXCLUSIVE MODE",
        "SELECT FROM heartbeats WHERE customer_id = 'CUST-000007' LIMIT 1 FOR UPDATE",
        "SELECT FROM kafka_ledger FOR UPDATE",
        "LOCK TABLE maintenance_turn IN EXCLUSIVE MODE",
        "LOCK TABLE alarm_turn IN EXCLUSIVE MODE",
    ],
)
def test_killed_in_the_middle_and_run_again(
    stored: list[Row], start: StartService, database: Database, held: str
) -> None:
    """Each step is complete or undone, the ledger balances in between, and a second run erases the rest."""
    waiting = "SELECT wait_event_type FROM pg_stat_activity WHERE application_name = 'heartbeat-forget'"
    with database.connect() as stranger:
        with stranger.transaction():
            stranger.execute(held.encode())
            forget = start("consumer", "forget", WHO)
            wait_until(lambda: database.query(waiting) == [("Lock",)], what="forget waits")
            forget.send_signal(signal.SIGKILL)
            forget.wait()
            between = start("consumer", "verify", "--full").wait()
        assert start("consumer", "forget", WHO).wait() == 0

    assert between == 0
    assert left(database) == [0] * 5
    assert database.lost_and_surplus([row for row in stored if row[0] != WHO]) == ([], [])
    assert database.query(TALLIES) == [(990, 2, 13)]
    assert start("consumer", "verify", "--full").wait() == 0


@pytest.mark.usefixtures("stored")
def test_two_at_once_erase_each_row_once(start: StartService, database: Database) -> None:
    """Two people on duty; the tally counts no offset twice."""
    both = [start("consumer", "forget", "--json", WHO) for _ in range(2)]

    assert [command.wait() for command in both] == [0, 0]
    assert sum(json.loads(command.text())["rows"] for command in both) == 10
    assert database.query(TALLIES) == [(990, 2, 13)]
    assert start("consumer", "verify", "--full").wait() == 0


@pytest.mark.usefixtures("stored")
def test_consumers_role_may_not_forget_anyone(start: StartService, database: Database) -> None:
    """It is exposed to the network: a stolen password must not erase people. The refusal names nobody."""
    with test_roles.made_for(database) as roles:
        forget = start("consumer", "forget", WHO, **roles.as_consumer)
        odd = start("consumer", "forget", "x" * 65)

        assert (forget.wait(), odd.wait()) == (2, 2)
    assert "Run it as the owner of the tables" in forget.text()
    assert "value 1 is no customer_id" in odd.text()
    assert WHO not in forget.text()
    assert "xxx" not in odd.text()
    assert left(database)[0] == 10


@pytest.mark.usefixtures("stored")
def test_consumer_with_its_own_role_reads_the_list_and_grafana_does_not(
    start: StartService, topic: Topic, database: Database
) -> None:
    """The hash of a name that can be guessed is no secret."""
    assert start("consumer", "forget", WHO).wait() == 0
    with test_roles.made_for(database) as roles:
        database.query(READ_AGAIN)
        consumer = start("consumer", **roles.as_consumer)
        wait_until(lambda: database.passed() == topic.ends(), what="all messages passed again")
        consumer.stop()
        may = database.query("SELECT has_any_column_privilege(%s, 'forgotten', 'SELECT')", roles.reader)

    assert database.query(TALLIES) == [(990, 2, 13)]
    assert may == [(False,)]


@pytest.mark.usefixtures("stored")
def test_rollups_of_dropped_days_that_hold_nobody_else_are_erased(start: StartService, database: Database) -> None:
    """Retention has dropped the heartbeats: the fleet's rollups cannot be summed up again without the person."""
    database.query("DELETE FROM heartbeats_per_minute WHERE customer_id <> 'CUST-000007' AND minute <> ("
                   "SELECT min(minute) FROM heartbeats_per_minute)")  # fmt: skip
    database.query("WITH gone AS (DELETE FROM heartbeats RETURNING 1) UPDATE kafka_ledger SET stored_dropped = stored")
    database.query("INSERT INTO heartbeats_horizon (dropped_before) SELECT max(minute) + interval '1 h'"
                   " FROM heartbeats_per_minute")  # fmt: skip
    first = database.query("SELECT min(minute) FROM heartbeats_per_minute")[0][0]
    assert start("consumer", "forget", WHO).wait() == 0

    assert database.query("SELECT DISTINCT bucket FROM heartbeats_fleet WHERE width_s = 60") == [(first,)]
    assert database.query("SELECT bool_and(bucket >= %s AND bucket < %s::timestamptz + interval '1 min')"
                          " FROM heartbeats_fleet WHERE width_s = 10", first, first) == [(True,)]  # fmt: skip
    assert database.query("SELECT count(DISTINCT width_s) FROM heartbeats_fleet") == [(4,)]
    assert database.query("SELECT count(*) FROM heartbeats_touched") == [(0,)]
    assert start("consumer", "verify", "--full").wait() == 0


def test_list_is_shortened_when_kafka_holds_none_of_the_messages(
    start: StartService, topic: Topic, database: Database
) -> None:
    """A hash is personal data, too: it stays only as long as it is needed."""
    topic.create()
    assert start("consumer", "forget", WHO).wait() == 0
    (empty,) = database.query("SELECT count(*) FROM forgotten")
    topic.send([(WHO.encode(), b"{}")])
    assert start("consumer", "forget", WHO).wait() == 0
    held = database.query("SELECT count(*) FROM forgotten")
    topic.delete()
    topic.create()
    assert start("consumer", "forget").wait() == 0

    assert empty == (0,)
    assert held == [(1,)]
    assert database.query("SELECT count(*) FROM forgotten") == [(0,)]


def test_list_is_not_shortened_while_a_consumer_has_yet_to_store_the_messages(
    start: StartService, topic: Topic, database: Database
) -> None:
    """One that hangs has them in memory after Kafka's retention has dropped them."""
    topic.create(partitions=1)
    topic.send([(WHO.encode(), b"{}")])
    assert start("consumer", "forget", "CUST-000008").wait() == 0  # the ledger begins at that message
    admin, place = topic.admin, TopicPartition(topic.name, 0, 1)
    admin.delete_records([place])[place].result()
    assert start("consumer", "forget", WHO).wait() == 0
    held = database.query("SELECT count(*) FROM forgotten")
    consumer = start("consumer", HEARTBEAT_CONSUMER__SKIP_EXPIRED="true")
    wait_until(lambda: database.passed() == {0: 1})
    consumer.stop()
    assert start("consumer", "forget").wait() == 0

    assert held == [(2,)]
    assert database.query("SELECT count(*) FROM forgotten") == [(0,)]


def test_another_event_is_erased_by_its_own_key(start: StartService, topic: Topic, database: Database) -> None:
    """Only in its table, and of the quarantine only its topic's messages. Names may come from stdin."""
    setting = prepare(database, ORDERS)
    topic.create()
    topic.send([(f"{n}".encode(), order(f"{n}")) for n in range(20)] + [(b"7", b"broken"), (b"8", b"broken")])
    database.query("INSERT INTO heartbeats (customer_id, \"timestamp\", heart_rate) VALUES ('7', now(), 70)")
    consumer = start("consumer", **setting)
    wait_until(lambda: database.passed() == topic.ends(), what="all messages passed")
    consumer.stop()
    done = subprocess.run(
        [sys.executable, "-m", "consumer", "forget", "--json", "-"],
        input="7\n9\n", text=True, capture_output=True, check=True, cwd=ROOT,
        env={"PYTHONPATH": ".", **settings_for(topic, database), **setting},
    )  # fmt: skip

    assert database.query("SELECT count(*) FROM orders") == [(18,)]
    assert json.loads(done.stdout)["quarantined"] == 1
    assert database.query(TALLIES) == [(18, 1, 3)]
    assert database.count() == 1
    assert start("consumer", "verify", "--full", **setting).wait() == 0
