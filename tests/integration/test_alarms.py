"""Alarms about people, by event time, on a real PostgreSQL: against the truth of simulated hours, and case by case."""

from datetime import timedelta

import psycopg
import pytest
from structlog.testing import capture_logs

from benchmarks.alarms import LIMITS, NOTE, STEP, Day, score
from producer.episodes import Kind
from store.alarms import LOOK
from store.lag import Lag
from store.steps import Done
from tests import roles as test_roles
from tests.fleet import EVERYBODY, LASTED, START, Fleet, around_70, at
from tests.pipeline import Database
from tests.store import open_maintenance, run_step

pytestmark = pytest.mark.integration


def test_alarms_of_simulated_hours_agree_with_the_truth(database: Database) -> None:
    """Every kind, with the settings' defaults; `python -m benchmarks.alarms` shows the same of a day."""
    with database.connect() as connection:
        day = Day(connection, 40, 1, START)
        while day.now < START + timedelta(hours=2):
            day.fill(STEP)
            day.look()
        scores = score(day)

    assert min(found.episodes for found in scores.values()) >= 2, scores
    assert sum(found.found for found in scores.values()) >= 0.9 * sum(found.episodes for found in scores.values()), (
        scores
    )
    assert all((found.true, found.doubled) == (found.alarms, 0) for found in scores.values()), scores
    assert max(scores[Kind.SILENT].notice_s) <= 20


def test_silent_person_is_noticed_within_twenty_seconds_until_the_next_heartbeat(fleet: Fleet) -> None:
    fleet.send(EVERYBODY, 0, 60)
    fleet.send(EVERYBODY[1:], 60, 120)
    fleet.send(EVERYBODY, 120, 150)
    fleet.advance()
    fleet.look()

    [(who, kind, started_at, noticed_at, ended_at)] = fleet.alarms(
        "SELECT customer_id, kind, started_at, noticed_at, ended_at FROM alarms"
    )
    assert (who, kind, started_at, ended_at) == ("CUST-000001", "silent", at(59), at(120))
    assert at(59 + 15) < noticed_at <= at(59 + 20)


def test_longest_silence_that_may_be_set_gives_alarms(fleet: Fleet) -> None:
    """Nobody was silent for 3,600 s and had been heard within the last hour."""
    fleet.send([2, 4, 6], 0, 60)
    fleet.advance()
    fleet.look()
    fleet.send([4, 6], 60, 3700)
    fleet.advance()
    while fleet.connection.execute(LOOK, (3600, 0, 20, 0)).fetchone()[0]:  # type: ignore[index]  # one row
        pass

    assert fleet.alarms() == [("CUST-000002", "silent")]


def test_stuck_value_is_one_alarm_until_it_changes(fleet: Fleet) -> None:
    def stuck(number: int, second: int) -> int:
        return 66 if number == 3 and 100 <= second < 1000 else around_70(number, second)

    fleet.send(EVERYBODY, 0, 900, stuck)
    fleet.advance()
    fleet.look()
    assert fleet.alarms() == [("CUST-000003", "stuck")]
    fleet.send(EVERYBODY, 900, 1100, stuck)
    fleet.advance()
    fleet.look()

    [(_, _, started_at, ended_at)] = fleet.alarms(LASTED)
    assert (started_at, ended_at) == (at(100), at(1000))


def test_high_and_low_are_measured_from_the_persons_own_usual_rate(fleet: Fleet) -> None:
    """110 is usual for one and an alarm for another; a bare threshold would be wrong about a tenth of all people."""
    usual = {1: 105, 2: 80, 3: 80, 4: 60}
    now = {1: 110, 2: 110, 3: 52, 4: 52}

    def bpm(number: int, second: int) -> int:
        return (now if second >= 3600 else usual).get(number, 75) + second % 3

    fleet.send(EVERYBODY, 0, 3600, bpm)
    fleet.connection.execute(NOTE, (START, at(3599)))
    while fleet.connection.execute("SELECT refresh_rollups()").fetchone() != (0,):
        pass
    fleet.send(EVERYBODY, 3600, 3800, bpm)
    fleet.advance()
    fleet.look()

    assert fleet.alarms() == [("CUST-000002", "high"), ("CUST-000003", "low")]
    [(value, low, high)] = fleet.alarms("SELECT value, usual_low, usual_high FROM alarms WHERE kind = 'high'")
    assert value > high > 100 > low


def test_people_who_left_do_not_wait_for_their_usual_range(fleet: Fleet) -> None:
    """There are 50 places in a pass: ids that came once would be tried again every five minutes, for ever."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.connection.execute(
        "INSERT INTO alarm_people (customer_id, partition_id, first_at, seen_at, bpm, side, side_since)"
        " SELECT 'LEFT-' || number, id >> 40, seen_at, seen_at, 70, 0, seen_at"
        " FROM generate_series(1, 1000) AS number, (SELECT id, \"timestamp\" - interval '2 days' AS seen_at"
        " FROM heartbeats LIMIT 1) AS one"
    )
    fleet.advance()
    fleet.look()

    assert fleet.alarms("SELECT min(customer_id), count(*) FROM alarm_people WHERE usual_at IS NOT NULL") == [
        ("CUST-000001", 20)
    ]


def test_crash_neither_loses_nor_doubles_an_alarm(fleet: Fleet, database: Database) -> None:
    """All of a pass is one transaction, and two consumers never look at the same time."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.send(EVERYBODY[2:], 60, 120)
    fleet.advance()
    with database.connect() as crashing:
        crashing.execute("BEGIN")
        while not crashing.execute(LOOK, LIMITS).fetchone()[1]:  # type: ignore[index]  # one row, always
            pass
        assert fleet.connection.execute(LOOK, LIMITS).fetchone() == (None, None, 0)
        crashing.execute("ROLLBACK")
    fleet.look()

    assert fleet.alarms() == [("CUST-000001", "silent"), ("CUST-000002", "silent")]
    assert len(fleet.alarms(LASTED)) == 2


def test_consumer_logs_each_alarm_once_with_the_rights_of_its_role(fleet: Fleet, database: Database) -> None:
    fleet.send(EVERYBODY, 0, 60)
    fleet.send(EVERYBODY[1:], 60, 120)
    fleet.send(EVERYBODY, 120, 150)
    fleet.advance()
    with test_roles.made_for(database) as roles:
        maintenance = open_maintenance(database, role=(roles.consumer, test_roles.PASSWORD))
        with capture_logs() as logs:
            while run_step(maintenance, "alarms") is not Done.ALL:
                pass
        maintenance.stop()
        with roles.connect(roles.reader) as reader:
            seen = reader.execute("SELECT count(*) FROM alarms").fetchone()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(LOOK, LIMITS)

    assert [log["event"] for log in logs] == ["alarm opened", "alarm closed"]
    assert (logs[0]["customer_id"], logs[0]["kind"], logs[0]["value"]) == ("CUST-000001", "silent", 72)
    assert seen == (1,)


def test_alarms_wait_for_a_backlog_but_not_for_ever(fleet: Fleet, database: Database) -> None:
    """Storing comes first: while it is behind, each run looks at five seconds of event time and no more."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.send(EVERYBODY[1:], 60, 120)
    fleet.advance()
    lag = Lag()
    lag.show({0: 10_000_000, 1: 10_000_000}, {0: 0, 1: 0}, 1)
    maintenance = open_maintenance(database, lag=lag)
    run_step(maintenance, "log_ends")

    ends = [run_step(maintenance, "alarms") for _ in range(30)]
    maintenance.stop()

    assert (ends[0], ends[-1]) == (Done.LATER, Done.ALL)
    assert ends.count(Done.LATER) > 10
    assert fleet.alarms() == [("CUST-000001", "silent")]


@pytest.mark.parametrize(
    "left",
    ["UPDATE kafka_log_ends SET seen_at = seen_at - interval '1 min'", "UPDATE kafka_topics SET table_name = 'orders'"],
    ids=["nobody reads the topic", "another table's topic"],
)
def test_alarms_wait_for_no_backlog_that_is_not_being_stored_in_heartbeats(
    fleet: Fleet, database: Database, left: str
) -> None:
    """What an abandoned topic held beyond the ledger stays in SQL: the search would be slow for ever."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.advance()
    lag = Lag()
    lag.show({0: 10_000_000}, {0: 0}, 1)
    maintenance = open_maintenance(database, lag=lag)
    run_step(maintenance, "log_ends")
    database.query(left)

    assert run_step(maintenance, "alarms") is Done.ALL
    maintenance.stop()


def test_no_alarms_where_none_are_wanted(fleet: Fleet, database: Database) -> None:
    fleet.send(EVERYBODY, 0, 60)
    fleet.send(EVERYBODY[1:], 60, 120)
    fleet.advance()
    maintenance = open_maintenance(database, alarm_silent_s=0, alarm_outside_s=0, alarm_stuck_s=0)

    assert run_step(maintenance, "alarms") is Done.ALL
    assert fleet.alarms("SELECT customer_id FROM alarm_people") == []
    maintenance.stop()


def test_old_alarms_go_with_the_rollups_unless_they_last(fleet: Fleet) -> None:
    fleet.connection.execute(
        "INSERT INTO alarms SELECT 'CUST-' || days, 'high', now() - days * interval '1 day', now(), ended_at, 120"
        " FROM unnest(ARRAY[5, 50, 500], ARRAY[now() - interval '5 days', now() - interval '50 days', NULL])"
        " AS alarm (days, ended_at)"
    )

    assert fleet.alarms("SELECT drop_rollups(10)") == [(1,)]
    assert sorted(fleet.alarms("SELECT customer_id FROM alarms")) == [("CUST-5",), ("CUST-500",)]


def test_people_who_left_go_with_the_rollups(fleet: Fleet) -> None:
    """Each pass reads all people: ids that come once, such as a sender's mistakes, must not add up for ever."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.advance()
    fleet.look()
    fleet.connection.execute(
        "UPDATE alarm_people SET seen_at = now() - interval '50 days' WHERE customer_id <= 'CUST-000002'"
    )
    fleet.connection.execute("UPDATE alarm_people SET seen_at = now() WHERE seen_at > now() - interval '49 days'")
    fleet.connection.execute("INSERT INTO alarms VALUES ('CUST-000002', 'silent', now(), now(), NULL, 70)")

    fleet.alarms("SELECT drop_rollups(10)")
    assert fleet.alarms("SELECT count(*), min(customer_id) FROM alarm_people") == [(19, "CUST-000002")]
