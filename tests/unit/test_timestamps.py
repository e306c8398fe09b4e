"""Timestamps are read by the calendar, from year 0 to year 9999."""

import calendar
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from store.reasons import FaultError
from store.timestamps import EPOCH, LAYOUT, SECONDS_KEPT, UTC_OFFSET, Seconds, read_time
from tests.corpus import timestamps

FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
BY_PYTHON: Final = LAYOUT.replace("Z", UTC_OFFSET)
LAST: Final = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def result_on(year: int, month: int, day: int, clock: tuple[int, int, int, int], zone: tuple[int, int, int]) -> object:
    """
    Say by the Gregorian calendar's rules, in whole numbers, what becomes of a timestamp.

    Returns:
        A reason, or the microseconds since year 0 began; `zone` is sign, hours, minutes.
    """
    hour, minute, second, us = clock
    sign, zone_h, zone_min = zone
    month_days = [0, 31, 28 + calendar.isleap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 0]
    in_range = hour <= 23 and minute <= 59 and second <= 59 and zone_h <= 23 and zone_min <= 59
    if not in_range or not 1 <= day <= month_days[month]:
        return "timestamp_not_rfc3339"
    days = 365 * year - (-year // 4) + (-year // 100) - (-year // 400)  # leap days rounded up, for year 0 has one
    minutes = (days + sum(month_days[:month]) + day - 1) * 1440 + hour * 60 + minute - sign * (zone_h * 60 + zone_min)
    found = (minutes * 60 + second) * 1_000_000 + us
    if not since_year_0(FIRST) <= found <= since_year_0(LAST):
        return "timestamp_year"
    return found


def since_year_0(moment: datetime) -> int:
    """Return a moment's microseconds since year 0 began, which has 366 days."""
    return (moment - FIRST) // timedelta(microseconds=1) + 366 * 86_400_000_000


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([0, 1, 2, 4, 100, 1900, 2000, 2023, 2024, 2025, 9998, 9999]) | st.integers(0, 9999),
    st.sampled_from([1, 2, 12]) | st.integers(0, 13),
    st.sampled_from([1, 28, 29, 30, 31]) | st.integers(0, 32),
    st.tuples(st.integers(0, 24), st.integers(0, 60), st.integers(0, 60), st.integers(0, 999_999)),
    st.tuples(st.sampled_from([-1, 1]), st.integers(0, 24), st.integers(0, 60)),
)
@example(0, 12, 31, (23, 59, 59, 999_999), (-1, 0, 1))
@example(0, 2, 29, (0, 0, 0, 0), (1, 0, 0))
@example(9999, 12, 31, (23, 59, 59, 999_999), (-1, 0, 1))
@example(9999, 12, 31, (23, 59, 59, 999_999), (1, 0, 0))
def test_timestamp_is_read_by_the_calendar(
    year: int, month: int, day: int, clock: tuple[int, int, int, int], zone: tuple[int, int, int]
) -> None:
    """A second implementation of the calendar, in whole numbers, agrees from year 0 to year 9999."""
    hour, minute, second, us = clock
    text = f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{us:06d}"
    text += f"{'-' if zone[0] < 0 else '+'}{zone[1]:02d}:{zone[2]:02d}"

    assert read(read_time, text) == result_on(year, month, day, clock, zone)


def read(way: Callable[[str], int], text: str) -> int | str:
    """Return the microseconds since year 0 began, or the reason."""
    try:
        return since_year_0(EPOCH) + way(text)
    except FaultError as error:
        return f"timestamp_{error.fault}"


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([*timestamps.GOOD, *timestamps.NOT_RFC3339, LAYOUT, BY_PYTHON]).filter(
        lambda text: len(text) < 100
    ),
    st.integers(0, 30),
    st.sampled_from(["", "0", "9", ".", "Z", "z", "-", "\u0661", "\u00b2", "\uff11", "_", " ", "+", "\n"]),
    st.booleans(),
)
def test_quick_ways_read_what_the_exact_way_reads(text: str, place: int, put: str, instead: bool) -> None:  # noqa: FBT001
    """Alone or among others, in a known second or a new one, a text means the same."""
    mutant = text[:place] + put + text[place + (1 if instead else 0) :]
    seconds = Seconds()

    expected = read(read_time, mutant)
    assert [read(seconds.read, mutant), read(seconds.read, mutant)] == [expected, expected]
    for other in (LAYOUT, BY_PYTHON):
        assert read(lambda one, other=other: seconds.read_all([other, one])[1], mutant) == expected  # type: ignore[misc]
    assert read(lambda one: Seconds().read_all([one])[0], mutant) == expected


def test_seconds_kept_are_bounded() -> None:
    """Senders of odd timestamps must not fill the memory."""
    seconds = Seconds()
    for number in range(2 * SECONDS_KEPT):
        seconds.read(f"{EPOCH + timedelta(seconds=number):%Y-%m-%dT%H:%M:%S}.5Z")

        assert len(seconds) <= SECONDS_KEPT
