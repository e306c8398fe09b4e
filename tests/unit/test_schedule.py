"""Each customer's turn comes once an interval, at its own moment, whatever the clocks and the machine do."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.schedule import MOST_BEHIND_S, MOST_WAIT_S, TICK_S, Schedule, steady_clock

ALL = 10**9


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def run(schedule: Schedule, clock: Clock, seconds: float) -> tuple[list[tuple[float, int]], int]:
    """Let time pass as the producer does; when each customer's turn came, and how many were skipped."""
    turns: list[tuple[float, int]] = []
    skipped_in_all = 0
    end = clock.now_s + seconds
    while clock.now_s < end:
        first, last, skipped = schedule.due(ALL)
        skipped_in_all += skipped
        turns += [(clock.now_s, customer) for customer in range(first, last)]
        clock.now_s += max(schedule.wait_s(), 1e-7)  # a real clock does not stand still either
    return turns, skipped_in_all


@settings(deadline=None)  # time is the test's own; how long the machine takes says nothing
@given(customers=st.integers(1, 3000), interval_s=st.floats(0.05, 20), rounds=st.integers(1, 4))
def test_every_customer_has_one_turn_an_interval_at_its_own_moment(
    customers: int, interval_s: float, rounds: int
) -> None:
    clock = Clock()
    start = clock.now_s
    turns, skipped = run(Schedule(customers, interval_s, clock), clock, rounds * interval_s)

    assert skipped == 0
    for number, (at, customer) in enumerate(turns):
        assert customer == number % customers  # nobody is left out, nobody comes twice
        due = start + number * interval_s / customers
        assert due - 1e-6 <= at <= due + TICK_S + 1e-6
    assert customers * rounds - len(turns) <= TICK_S * customers / interval_s + 1


def test_turns_are_spread_evenly_over_the_interval() -> None:
    clock = Clock()
    start = clock.now_s
    turns, _ = run(Schedule(1000, 1.0, clock), clock, 1.0)
    by_tenth = [sum(k / 10 <= at - start - TICK_S / 2 < (k + 1) / 10 for at, _ in turns) for k in range(10)]

    assert all(75 <= count <= 125 for count in by_tenth[1:9])


def test_slow_rounds_do_not_shift_the_schedule() -> None:
    """A sleep after each round would be late by the time that sending takes, and more every round."""
    clock = Clock()
    schedule = Schedule(10, 1.0, clock)
    taken = 0
    for _ in range(1000):
        first, last, skipped = schedule.due(ALL)
        taken += last - first + skipped
        clock.now_s += 0.037

    assert taken == pytest.approx(370, abs=1)


def test_hiccup_is_made_up_for() -> None:
    clock = Clock()
    schedule = Schedule(100, 1.0, clock)
    run(schedule, clock, 0.5)
    clock.now_s += 0.9 * MOST_BEHIND_S
    turns, skipped = run(schedule, clock, 2.0)

    assert skipped == 0
    assert [customer for _, customer in turns[:3]] == [50, 51, 52]


def test_stopped_process_skips_and_says_how_many() -> None:
    """Sending them all on waking would be a burst of readings of another time."""
    clock = Clock()
    schedule = Schedule(100, 1.0, clock)
    before, _ = run(schedule, clock, 1.0)
    clock.now_s += 60.0
    first, last, skipped = schedule.due(ALL)
    after, skipped_later = run(schedule, clock, 1.0)

    assert first == last
    assert skipped == pytest.approx(6000, abs=5)
    assert len(before) + len(after) == pytest.approx(200, abs=5)
    assert skipped_later == 0


def test_permanent_overload_is_skipped_by_whole_seconds_and_goes_on() -> None:
    """Half as fast as needed: half is sent, half is counted as skipped, and nothing is late for ever."""
    clock = Clock()
    schedule = Schedule(1000, 1.0, clock)
    taken = skipped_in_all = 0
    for _ in range(600):
        first, last, skipped = schedule.due(50)
        taken += last - first
        skipped_in_all += skipped
        clock.now_s += 0.1

    assert taken + skipped_in_all == pytest.approx(60_000, abs=1.1 * 1000 * MOST_BEHIND_S)
    assert taken == pytest.approx(30_000, rel=0.05)


def test_nothing_is_taken_but_skipping_goes_on_while_there_is_no_room() -> None:
    """While the queue is full the log must not be silent about the readings that are missed."""
    clock = Clock()
    schedule = Schedule(1000, 1.0, clock)
    skipped_in_all = 0
    for _ in range(100):
        first, last, skipped = schedule.due(0)
        skipped_in_all += skipped
        clock.now_s += 0.1

        assert first == last
    assert skipped_in_all == pytest.approx(10_000, abs=1.2 * 1000 * MOST_BEHIND_S)


def test_rounds_are_not_mixed() -> None:
    """A batch is an unbroken run of customers, also where it would reach into the next round."""
    clock = Clock()
    schedule = Schedule(10, 0.5, clock)
    clock.now_s += 0.93

    assert [schedule.due(ALL)[:2] for _ in range(3)] == [(0, 10), (0, 9), (9, 9)]


def test_interval_zero_is_always_due() -> None:
    schedule = Schedule(10, 0.0, Clock())

    assert [schedule.due(4) for _ in range(4)] == [(0, 4, 0), (4, 8, 0), (8, 10, 0), (0, 4, 0)]
    assert schedule.wait_s() == 0


def test_long_intervals_wake_up_for_other_things() -> None:
    clock = Clock()
    schedule = Schedule(1, 86_400.0, clock)

    assert schedule.due(ALL) == (0, 1, 0)
    assert schedule.wait_s() == MOST_WAIT_S
    assert schedule.due(ALL) == (0, 0, 0)


def test_steady_clock_is_not_the_wall_clock() -> None:
    """It counts from the machine's start, so setting the date cannot move it."""
    assert steady_clock() < 10 * 365 * 86_400
    assert steady_clock() <= steady_clock()
