"""Where alarms are looked for in each Kafka partition: clocks ahead, partitions behind, topics made anew."""

import pytest

from benchmarks.alarms import LIMITS
from store.alarms import LOOK
from tests.fleet import EVERYBODY, LASTED, Fleet, at

pytestmark = pytest.mark.integration


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
        fleet.connection.execute(LOOK, LIMITS)

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
        assert fleet.connection.execute(LOOK, LIMITS).fetchone()[:2] != (0, [])  # type: ignore[index]  # one row, always
    fleet.send([2, 4, 6], 2 * day + 60, 2 * day + 70)
    fleet.advance(0)
    for _ in range(3):
        fleet.connection.execute(LOOK, LIMITS)

    assert max(fleet.alarms("SELECT looked_until FROM alarm_positions")) == (at(2 * day + 65),)
    assert fleet.alarms() == [("CUST-000001", "silent")]


def test_flood_of_rejected_messages_holds_up_no_alarm(fleet: Fleet) -> None:
    """They take offsets as well; a sender's mistake must not hide that somebody fell silent."""
    fleet.send(EVERYBODY, 0, 60)
    fleet.send(EVERYBODY[1:], 60, 120)
    fleet.offsets = [offset + 5000 for offset in fleet.offsets]
    fleet.advance()
    fleet.look()

    assert fleet.alarms() == [("CUST-000001", "silent")]
