"""The episodes of a seed are known in advance, and what the generator sends agrees with them."""

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from common.event import GENERATED_BPM, NORMAL_BPM
from producer.data_generator import HeartRates
from producer.episodes import APART_S, LASTING_S, SHIFT, Episode, EpisodicRates, Kind, episodes

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
SILENT = 0  # stands for a reading that was not sent


def listed(
    begins: datetime, ends: datetime, *, seed: int = 1, customers: int = 1000, per_hour: float = 6
) -> list[Episode]:
    return episodes(seed, customers, per_hour, begins, ends)


def sent(seconds: int, *, seed: int = 1, customers: int = 1000, per_hour: float = 6) -> npt.NDArray[np.int16]:
    """Read everybody once a second from noon on: one row a second; `SILENT` where nothing is sent."""
    people = EpisodicRates(HeartRates(customers, 1.0, seed), seed, customers, per_hour)
    rows = []
    for second in range(seconds):
        rates_bpm, silent = people.read(0, customers, NOON + second * SECOND)
        rates_bpm[silent] = SILENT
        rows.append(rates_bpm)
    return np.stack(rows)


def without_episodes(seconds: int, *, seed: int = 1, customers: int = 1000) -> npt.NDArray[np.int16]:
    rates = HeartRates(customers, 1.0, seed)
    return np.stack([rates.read(0, customers) for _ in range(seconds)])


def during(episode: Episode, readings: npt.NDArray[np.int16]) -> npt.NDArray[np.int16]:
    """Give the person's readings from the episode's start until just before its end."""
    first, last = ((moment - NOON) / SECOND for moment in (episode.started_at, episode.ended_at))
    return readings[max(0, int(np.ceil(first))) : max(0, int(np.ceil(last))), episode.customer]


@pytest.fixture(scope="module")
def hour() -> npt.NDArray[np.int16]:
    return sent(3600)


@pytest.fixture(scope="module")
def undisturbed() -> npt.NDArray[np.int16]:
    return without_episodes(3600)


def test_each_kind_has_so_many_episodes_an_hour() -> None:
    day = [e for e in listed(NOON, NOON + 24 * HOUR) if e.started_at >= NOON]

    assert all(count == pytest.approx(6 * 24, abs=6) for count in Counter(e.kind for e in day).values())
    assert {e.kind for e in day} == set(Kind)


@pytest.mark.parametrize("piece", [timedelta(seconds=7), timedelta(minutes=1), HOUR])
@pytest.mark.parametrize("customers", [1, 3, 100, 1000])
def test_the_episodes_do_not_depend_on_how_they_are_asked_for(piece: timedelta, customers: int) -> None:
    """A generator that starts in the middle, and asks minute by minute, has the same truth as a test."""
    whole = listed(NOON, NOON + 2 * HOUR, customers=customers, per_hour=30)
    pieces = [
        listed(NOON + k * piece, NOON + (k + 1) * piece, customers=customers, per_hour=30)
        for k in range(2 * HOUR // piece)
    ]

    assert sorted(set(itertools.chain.from_iterable(pieces)), key=lambda e: e.started_at) == whole


def test_other_seeds_have_other_episodes() -> None:
    assert not {*listed(NOON, NOON + HOUR, seed=1)} & {*listed(NOON, NOON + HOUR, seed=2)}


@pytest.mark.parametrize("customers", [1, 5, 1000])
def test_nobody_is_in_two_episodes_at_once(customers: int) -> None:
    day = listed(NOON, NOON + 24 * HOUR, customers=customers)

    assert {e.customer for e in day} <= set(range(customers))
    for one, other in itertools.combinations(sorted(day, key=lambda e: (e.customer, e.started_at)), 2):
        if one.customer == other.customer:
            assert other.started_at - one.ended_at >= timedelta(seconds=APART_S)


def test_an_episode_lasts_as_long_as_its_kind() -> None:
    for episode in listed(NOON, NOON + 24 * HOUR):
        least_s, most_s = LASTING_S[episode.kind]
        assert least_s <= (episode.ended_at - episode.started_at).total_seconds() <= most_s


def test_no_episodes_where_none_are_wanted() -> None:
    assert not listed(NOON, NOON + 24 * HOUR, per_hour=0)
    assert np.array_equal(sent(10, per_hour=0), without_episodes(10))


def test_only_people_in_an_episode_are_affected(
    hour: npt.NDArray[np.int16], undisturbed: npt.NDArray[np.int16]
) -> None:
    affected = {e.customer for e in listed(NOON, NOON + HOUR)}
    others = [c for c in range(1000) if c not in affected]

    assert np.array_equal(hour[:, others], undisturbed[:, others])


def test_silent_people_send_nothing_in_their_episode_and_everything_else(hour: npt.NDArray[np.int16]) -> None:
    silent = [during(e, hour) for e in listed(NOON, NOON + HOUR) if e.kind is Kind.SILENT]

    assert all(np.all(readings == SILENT) for readings in silent)
    assert np.sum(hour == SILENT) == sum(map(len, silent)) > 0


def test_a_stuck_sensor_repeats_one_value(hour: npt.NDArray[np.int16]) -> None:
    stuck = [during(e, hour) for e in listed(NOON, NOON + HOUR) if e.kind is Kind.STUCK]

    assert stuck
    assert all(len(np.unique(readings)) == 1 for readings in stuck)


def test_high_and_low_people_are_far_from_what_they_were_without(
    hour: npt.NDArray[np.int16], undisturbed: npt.NDArray[np.int16]
) -> None:
    """By about 27 bpm, whatever their level: a tenth of all people are out of 60..100 at any moment anyway."""
    moved = [
        e for e in listed(NOON, NOON + HOUR) if e.kind in SHIFT and e.started_at >= NOON and e.ended_at <= NOON + HOUR
    ]

    assert len(moved) >= 8
    for episode in moved:
        change = (during(episode, hour) - during(episode, undisturbed))[60:-60]
        assert np.all(np.sign(change) == np.sign(SHIFT[episode.kind]))
        assert np.abs(change).mean() > 20


def test_steps_stay_small_when_an_episode_begins_and_ends(hour: npt.NDArray[np.int16]) -> None:
    for episode in listed(NOON, NOON + HOUR):
        if episode.kind in SHIFT:
            assert np.abs(np.diff(hour[:, episode.customer])).max() <= 8


def test_the_distribution_and_the_rate_hold_with_episodes(hour: npt.NDArray[np.int16]) -> None:
    """What is fixed for the generator: 50..120, 90 % in 60..100 at any moment, 1,000 readings a second."""
    there = hour != SILENT
    shares = (np.isin(hour, NORMAL_BPM) & there).sum(axis=1) / there.sum(axis=1)

    assert (hour[there].min(), hour[there].max()) == (GENERATED_BPM[0], GENERATED_BPM[-1])
    assert shares.min() >= 0.87
    assert shares.max() <= 0.93
    assert shares.mean() == pytest.approx(0.9, abs=0.005)
    assert there.sum(axis=1).min() >= 995


def test_how_many_are_read_at_once_does_not_matter() -> None:
    """Nor does a generator that starts in the middle of an episode move anybody for ever."""
    begins = next(e for e in listed(NOON, NOON + HOUR) if e.kind is Kind.HIGH).started_at
    whole, parts = (EpisodicRates(HeartRates(1000, 1.0, 1), 1, 1000, 6) for _ in range(2))
    for second in range(600):
        at = begins + second * SECOND
        rates_bpm, silent = whole.read(0, 1000, at)
        pieces = [(first, *parts.read(first, first + 250, at)) for first in range(0, 1000, 250)]

        assert np.array_equal(rates_bpm, np.concatenate([piece for _, piece, _ in pieces]))
        assert sorted(silent) == sorted(first + index for first, _, indexes in pieces for index in indexes)
