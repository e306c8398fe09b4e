"""Alarms about people, by event time, on a real PostgreSQL: against the truth of simulated hours, and case by case."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from benchmarks.alarms import ADVANCE, BEGIN, COPY, LIMITS, NOTE, STEP, Day, score
from producer.episodes import Kind
from store.maintenance import LOOK_FOR_ALARMS
from store.row_id import pack
from store.steps import Done
from tests import roles as test_roles
from tests.pipeline import Database
from tests.store import open_maintenance

pytestmark = pytest.mark.integration

START = datetime(2026, 11, 22, 9, tzinfo=UTC)  # fixed: the episodes of a seed belong to the time of day
OPEN = "SELECT customer_id, kind FROM alarms WHERE ended_at IS NULL ORDER BY customer_id, kind"
LASTED = "SELECT customer_id, kind, started_at, ended_at FROM alarms"
EVERYBODY = range(1, 21)


def around_70(number: int, second: int) -> int:
    """Give a heart rate that varies."""
    return 70 + (number + second) % 5


class Fleet:
    """Heartbeats as a consumer stores them: odd customers in partition 1, even ones in 0; times in seconds."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        self.generation = 1
        self.offsets = [0, 0]
        connection.execute(BEGIN)

    def send(
        self,
        numbers: Iterable[int],
        begins_s: int,
        ends_s: int,
        bpm: Callable[[int, int], int] = around_70,
        *,
        ahead_s: int = 0,
    ) -> None:
        """Copy one heartbeat a second of each; the sender's clock may be ahead."""
        with self.connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for second in range(begins_s, ends_s):
                for number in numbers:
                    partition = number % 2
                    row_id = pack(self.generation, partition, self.offsets[partition])
                    self.offsets[partition] += 1
                    copy.write_row((row_id, f"CUST-{number:06d}", at(second + ahead_s), bpm(number, second)))

    def advance(self, *partitions: int) -> None:
        """Take into the ledger what was stored: only then does it count."""
        for partition in partitions or (0, 1):
            self.connection.execute(ADVANCE, (self.offsets[partition], self.offsets[partition], partition))

    def look(self) -> None:
        """Look for alarms until nothing is left."""
        while self.connection.execute(LOOK_FOR_ALARMS, LIMITS).fetchone()[0]:  # type: ignore[index]  # one row, always
            pass

    def alarms(self, statement: str = OPEN) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement.encode()).fetchall()


def at(second: int) -> datetime:
    return START + timedelta(seconds=second)


@pytest.fixture
def fleet(database: Database) -> Iterator[Fleet]:
    with database.connect() as connection:
        yield Fleet(connection)


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


def test_nobody_is_silent_because_the_producer_was(fleet: Fleet) -> None:
    """A thousand alarms after every restart would hide the one that matters."""
    fleet.send(EVERYBODY, 0, 63)
    fleet.send(EVERYBODY, 900, 960)
    fleet.advance()
    fleet.look()

    assert fleet.alarms(LASTED) == []


def test_nobody_is_silent_because_a_partition_is_behind(fleet: Fleet) -> None:
    """It is looked at once it catches up, as if it had been there."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.advance()
    fleet.look()
    fleet.send(EVERYBODY[1:], 60, 300)
    fleet.advance(0)
    fleet.look()
    assert fleet.alarms(LASTED) == []

    fleet.advance(1)
    fleet.look()

    assert fleet.alarms() == [("CUST-000001", "silent")]


def test_nobody_is_silent_because_one_clock_is_ahead(fleet: Fleet) -> None:
    for second in range(0, 300, 2):
        fleet.send(EVERYBODY[:-1], second, second + 2)
        fleet.send(EVERYBODY[-1:], second, second + 2, ahead_s=240)
    fleet.advance()
    fleet.look()

    assert [who for who, *_ in fleet.alarms(LASTED) if who != "CUST-000020"] == []


def test_one_clock_ahead_makes_nobody_silent_while_heartbeats_arrive(fleet: Fleet) -> None:
    """A look may come at any moment, also when only a few heartbeats are past the last position."""
    for second in range(60):
        for number in EVERYBODY:
            fleet.send([number], second, second + 1, ahead_s=240 if number == 20 else 0)
            if number % 4 == 1:
                fleet.advance()
                fleet.look()

    assert [who for who, *_ in fleet.alarms(LASTED) if who != "CUST-000020"] == []
    assert max(fleet.alarms("SELECT looked_until FROM alarm_positions")) <= (at(60),)


def test_partition_that_is_hours_behind_holds_up_no_alarm(fleet: Fleet) -> None:
    """Each five seconds of a day are 17,000 passes: minutes in which others must not fall silent unnoticed."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.send([2, 4, 6], 60, 7200)
    fleet.advance()
    fleet.look()
    fleet.send([4, 6], 7200, 7300)
    fleet.send([1], 7200, 7300)
    fleet.advance()
    for _ in range(25):
        fleet.connection.execute(LOOK_FOR_ALARMS, LIMITS)

    assert ("CUST-000002", "silent") in fleet.alarms()
    fleet.look()
    assert len(set(fleet.alarms("SELECT looked_until FROM alarm_positions"))) == 1


def test_what_a_slower_partition_says_of_a_person_is_history(fleet: Fleet) -> None:
    """Without keys a person is in all partitions, and one of them catches up: that is not where the person is now."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.send([2, 4, 6], 60, 300)
    fleet.advance(0)
    fleet.look()
    fleet.connection.execute("UPDATE heartbeats SET customer_id = 'CUST-000002' WHERE customer_id = 'CUST-000001'")
    fleet.advance(1)
    fleet.look()

    [(seen_at,)] = fleet.alarms("SELECT seen_at FROM alarm_people WHERE customer_id = 'CUST-000002'")
    assert seen_at >= at(290)


def test_topic_that_is_made_anew_may_be_of_an_earlier_time(fleet: Fleet) -> None:
    """A simulated day after a real one, or a first topic whose senders' clocks were ahead."""
    fleet.send(EVERYBODY, 7200, 7260)
    fleet.advance()
    fleet.look()
    fleet.generation, fleet.offsets = 2, [0, 0]
    fleet.send(EVERYBODY, 0, 60)
    fleet.send(EVERYBODY[1:], 60, 120)
    fleet.connection.execute(
        "INSERT INTO kafka_topics (generation, topic_id, topic) VALUES (2, 'new', 'simulated');"
        "INSERT INTO kafka_ledger (generation, partition, start_offset, next_offset, stored)"
        " SELECT 2, partition, 0, 1200, 1200 FROM generate_series(0, 1) AS partition"
    )
    fleet.look()

    assert fleet.alarms() == [("CUST-000001", "silent")]


def test_alarm_of_a_partition_days_behind_is_not_closed_by_another(fleet: Fleet) -> None:
    """After a day without a heartbeat a person counts as gone, but not while that day is still to be looked at."""
    day = 86400
    fleet.send([2, 4, 6], 2 * day, 2 * day + 60)
    fleet.advance(0)
    fleet.look()
    fleet.send(EVERYBODY[::2], 0, 60)
    fleet.send(EVERYBODY[2::2], 60, 300)
    fleet.advance(1)
    while not fleet.alarms():
        assert fleet.connection.execute(LOOK_FOR_ALARMS, LIMITS).fetchone() != (0, [])
    fleet.send([2, 4, 6], 2 * day + 60, 2 * day + 70)
    fleet.advance(0)
    for _ in range(3):
        fleet.connection.execute(LOOK_FOR_ALARMS, LIMITS)

    assert max(fleet.alarms("SELECT looked_until FROM alarm_positions")) == (at(2 * day + 65),)
    assert fleet.alarms() == [("CUST-000001", "silent")]


def test_longest_silence_that_may_be_set_gives_alarms(fleet: Fleet) -> None:
    """Nobody was silent for 3,600 s and had been heard within the last hour."""
    fleet.send([2, 4, 6], 0, 60)
    fleet.advance()
    fleet.look()
    fleet.send([4, 6], 60, 3700)
    fleet.advance()
    while fleet.connection.execute(LOOK_FOR_ALARMS, (3600, 0, 20, 0)).fetchone()[0]:  # type: ignore[index]  # one row
        pass

    assert fleet.alarms() == [("CUST-000002", "silent")]


def test_flood_of_rejected_messages_holds_up_no_alarm(fleet: Fleet) -> None:
    """They take offsets as well; a sender's mistake must not hide that somebody fell silent."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.send(EVERYBODY[1:], 60, 120)
    fleet.offsets = [offset + 5000 for offset in fleet.offsets]
    fleet.advance()
    fleet.look()

    assert fleet.alarms() == [("CUST-000001", "silent")]


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


def test_crash_neither_loses_nor_doubles_an_alarm(fleet: Fleet, database: Database) -> None:
    """All of a pass is one transaction, and two consumers never look at the same time."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.send(EVERYBODY[2:], 60, 120)
    fleet.advance()
    with database.connect() as crashing:
        crashing.execute("BEGIN")
        while not crashing.execute(LOOK_FOR_ALARMS, LIMITS).fetchone()[1]:  # type: ignore[index]  # one row, always
            pass
        assert fleet.connection.execute(LOOK_FOR_ALARMS, LIMITS).fetchone() == (None, None)
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
            while maintenance.look_for_alarms() is not Done.ALL:
                pass
        maintenance.stop()
        with roles.connect(roles.reader) as reader:
            seen = reader.execute("SELECT count(*) FROM alarms").fetchone()
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(LOOK_FOR_ALARMS, LIMITS)

    assert [log["event"] for log in logs] == ["alarm opened", "alarm closed"]
    assert (logs[0]["customer_id"], logs[0]["kind"], logs[0]["value"]) == ("CUST-000001", "silent", 72)
    assert seen == (1,)


def test_no_alarms_where_none_are_wanted(fleet: Fleet, database: Database) -> None:
    fleet.send(EVERYBODY, 0, 60)
    fleet.send(EVERYBODY[1:], 60, 120)
    fleet.advance()
    maintenance = open_maintenance(database, alarm_silent_s=0, alarm_outside_s=0, alarm_stuck_s=0)

    assert maintenance.look_for_alarms() is Done.ALL
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
