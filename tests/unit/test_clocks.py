"""A clock that differs from the database's is told of once, and again when the difference changes."""

import pytest
from structlog.testing import capture_logs

from common.errors import OutageError
from store.clocks import Clocks

DAY_S = 86_400.0


class Here:
    """This machine's clock, which a test sets; each look at the database takes `trip_s`."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.trip_s = 0.0
        self.true_s = 1_000_000.0
        self.clocks = Clocks(lambda: self.true_s + self.ahead_s)

    def compare(self, ahead_s: float, trip_s: float = 0.0) -> list[float]:
        """Compare with the clock set ahead; how far ahead the warnings say it is."""
        self.ahead_s, self.trip_s = ahead_s, trip_s
        with capture_logs() as logs:
            self.clocks.compare(self._ask)
        return [log["ahead_s"] for log in logs if log["log_level"] == "warning"]

    def _ask(self) -> float:
        self.true_s += self.trip_s
        return self.true_s


@pytest.fixture
def here() -> Here:
    return Here()


def test_difference_is_told_once_and_again_when_it_changes(here: Here) -> None:
    """A warning every minute would hide others."""
    assert [here.compare(ahead_s) for ahead_s in (0, 59, -59)] == [[], [], []]
    assert [here.compare(ahead_s) for ahead_s in (90, 95, 149, 151)] == [[90], [], [], [151]]
    assert [here.compare(ahead_s) for ahead_s in (-3600, -3600, 0, -3600)] == [[-3600], [], [], [-3600]]


def test_slow_answer_is_no_difference(here: Here) -> None:
    """An answer that took two minutes says nothing about two minutes."""
    assert here.compare(0, trip_s=120) == []
    assert here.compare(100, trip_s=120) == []
    assert here.compare(300, trip_s=120) == [180]


@pytest.mark.parametrize("ahead_s", [DAY_S, -DAY_S, 30 * DAY_S])
def test_nothing_is_dropped_while_the_clocks_differ_by_a_day(here: Here, ahead_s: float) -> None:
    """Either clock may be the wrong one."""
    here.compare(DAY_S / 2)
    here.clocks.check()
    here.compare(ahead_s)
    with pytest.raises(OutageError):
        here.clocks.check()

    here.compare(1)
    here.clocks.check()
