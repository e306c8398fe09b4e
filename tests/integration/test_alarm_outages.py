"""While the pipeline is away, nobody gets an alarm, and none is doubled."""

import pytest

from benchmarks.alarms import NOTE
from tests.fleet import EVERYBODY, LASTED, START, Fleet, around_70, at

pytestmark = pytest.mark.integration


def test_nobody_is_silent_because_the_producer_was(fleet: Fleet) -> None:
    """A thousand alarms after every restart would hide the one that matters."""
    fleet.send(EVERYBODY, 0, 63)
    fleet.send(EVERYBODY, 900, 960)
    fleet.advance()
    fleet.look()

    assert fleet.alarms(LASTED) == []


def test_outage_makes_nobody_stuck(fleet: Fleet) -> None:
    """The last value before it and the first one after it may be equal; between them, nobody knows."""
    fleet.send(EVERYBODY, 0, 60)
    for second in (60, 960):
        fleet.send(EVERYBODY, second, second + 1, lambda *_: 66)
    fleet.send(EVERYBODY, 965, 1000)
    fleet.advance()
    fleet.look()

    assert fleet.alarms(LASTED) == []


def test_outage_between_two_high_moments_is_no_alarm(fleet: Fleet) -> None:
    def bpm(number: int, second: int) -> int:
        return 140 if number == 3 and second >= 3600 else around_70(number, second)

    fleet.send(EVERYBODY, 0, 3600, bpm)
    fleet.connection.execute(NOTE, (START, at(3599)))
    while fleet.connection.execute("SELECT refresh_rollups()").fetchone() != (0,):
        pass
    fleet.send(EVERYBODY, 3600, 3610, bpm)
    fleet.send(EVERYBODY, 3900, 3920, bpm)
    fleet.send(EVERYBODY, 3920, 3940)
    fleet.advance()
    fleet.look()

    assert fleet.alarms(LASTED) == []


def test_stuck_value_is_one_alarm_across_an_outage(fleet: Fleet) -> None:
    def stuck(number: int, second: int) -> int:
        return 66 if number == 3 and 100 <= second < 1600 else around_70(number, second)

    fleet.send(EVERYBODY, 0, 800, stuck)
    fleet.send(EVERYBODY, 920, 1700, stuck)
    fleet.advance()
    fleet.look()

    [(_, kind, started_at, ended_at)] = fleet.alarms(LASTED)
    assert (kind, started_at, ended_at) == ("stuck", at(100), at(1600))
