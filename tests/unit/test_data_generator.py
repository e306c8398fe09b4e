"""The population keeps its distribution, and each customer reads like a person."""

import numpy as np
import numpy.typing as npt
import pytest

from common.event import GENERATED_BPM, NORMAL_BPM
from producer.data_generator import HeartRates

Readings = npt.NDArray[np.int16]


def draw(customers: int, rounds: int, *, seed: int, interval_s: float = 1.0) -> Readings:
    """Take `rounds` readings of everybody: one row a round."""
    rates = HeartRates(customers, interval_s, seed)
    return np.stack([rates.read(0, customers) for _ in range(rounds)])


def normal_shares(readings: Readings) -> npt.NDArray[np.float64]:
    """Return the share of readings in 60..100, by round."""
    shares: npt.NDArray[np.float64] = np.isin(readings, NORMAL_BPM).mean(axis=1)
    return shares


def autocorrelations(readings: Readings) -> npt.NDArray[np.float64]:
    """Return the correlation of each customer's readings with the next ones."""
    deviations = readings - readings.mean(axis=0)
    result: npt.NDArray[np.float64] = (deviations[1:] * deviations[:-1]).sum(axis=0) / (deviations**2).sum(axis=0)
    return result


@pytest.fixture(scope="module", params=[1, 2, 3])
def hour(request: pytest.FixtureRequest) -> Readings:
    return draw(1000, 3600, seed=request.param)


def test_every_reading_is_within_the_limits_and_both_are_reached(hour: Readings) -> None:
    assert (hour.min(), hour.max()) == (GENERATED_BPM[0], GENERATED_BPM[-1])


def test_nine_in_ten_are_normal_at_any_moment_of_an_hour(hour: Readings) -> None:
    """A dashboard shows moments, not averages; independent draws would leave this band several times an hour."""
    shares = normal_shares(hour)

    assert shares.min() >= 0.87
    assert shares.max() <= 0.93
    assert shares.mean() == pytest.approx(0.9, abs=0.005)


def test_readings_out_of_range_are_low_and_high(hour: Readings) -> None:
    assert (hour < NORMAL_BPM.start).mean() == pytest.approx(0.05, abs=0.01)
    assert (hour >= NORMAL_BPM.stop).mean() == pytest.approx(0.05, abs=0.01)


def test_no_step_stands_out_in_the_distribution(hour: Readings) -> None:
    """Fixing a share must not pile readings up beside its edges, nor at the limits."""
    counts = np.bincount(hour.ravel(), minlength=GENERATED_BPM.stop)[GENERATED_BPM.start :]

    assert counts[:10].mean() < counts[10:20].mean() < counts[25:35].mean()
    assert counts[-10:].mean() < counts[-20:-10].mean() < counts[40:50].mean()
    assert np.all(np.abs(np.diff(counts)) < 0.25 * counts.max())


def test_steps_from_second_to_second_are_small(hour: Readings) -> None:
    steps = np.abs(np.diff(hour, axis=0))

    assert steps.mean(axis=0).max() < 3
    assert steps.max() <= 8


def test_every_reading_resembles_the_one_before(hour: Readings) -> None:
    """Over an hour for everybody; ten minutes in which somebody hardly changes hold little but rounding."""
    assert autocorrelations(hour).min() > 0.9
    assert np.mean(autocorrelations(hour[:600]) > 0.9) > 0.98


def test_customers_have_levels_of_their_own_and_drift_around_them(hour: Readings) -> None:
    """3 to 5 bpm within a person, as wearables find, and far more between people."""
    within, between = hour.std(axis=0).mean(), hour.mean(axis=0).std()

    assert 3 < within < 5
    assert between > 2 * within


def test_a_million_customers_keep_the_share_closely() -> None:
    assert normal_shares(draw(1_000_000, 1, seed=4))[0] == pytest.approx(0.9, abs=0.002)


@pytest.mark.parametrize("interval_s", [0.0, 0.1, 60.0, 86_400.0])
def test_the_distribution_does_not_depend_on_the_interval(interval_s: float) -> None:
    shares = normal_shares(draw(10_000, 30, seed=5, interval_s=interval_s))

    assert shares.mean() == pytest.approx(0.9, abs=0.01)


def test_longer_intervals_make_longer_steps() -> None:
    """Drift belongs to time, not to the number of readings."""
    second, minute = (np.abs(np.diff(draw(1000, 200, seed=6, interval_s=s), axis=0)).mean() for s in (1.0, 60.0))

    assert minute > 2 * second


def test_same_seed_gives_the_same_people() -> None:
    assert np.array_equal(draw(100, 50, seed=7), draw(100, 50, seed=7))


def test_how_many_are_read_at_once_does_not_matter() -> None:
    """The schedule gathers what is due, a little more or less each time; the seed alone decides the heart rates."""
    rates = HeartRates(50, 1.0, seed=7)
    rounds = ([(0, 50)], [(0, 1), (1, 2), (2, 50)], [(0, 17), (17, 17), (17, 49), (49, 50)], [(0, 25), (25, 50)])
    gathered = [np.concatenate([rates.read(first, last) for first, last in parts]) for parts in rounds]

    assert np.array_equal(np.stack(gathered), draw(50, len(rounds), seed=7))


def test_other_seeds_give_other_people() -> None:
    assert not np.array_equal(draw(100, 1, seed=7), draw(100, 1, seed=8))
    assert not np.array_equal(HeartRates(100, 1.0, None).read(0, 100), HeartRates(100, 1.0, None).read(0, 100))


def test_a_reading_moves_nobody_else() -> None:
    """The cost of a tick is that of its customers; the others stay as they were."""
    rates = HeartRates(10, 1.0, seed=9)
    before = rates._drifts.copy()  # noqa: SLF001 - the state itself is the claim
    read = rates.read(3, 5)

    assert len(read) == 2
    assert [k for k in range(10) if not np.array_equal(before[:, k], rates._drifts[:, k])] == [3, 4]  # noqa: SLF001


@pytest.mark.parametrize("customers", [1, 2, 7])
def test_a_handful_of_customers_works_as_well(customers: int) -> None:
    readings = draw(customers, 100, seed=10)

    assert readings.shape == (100, customers)
    assert np.all(np.isin(readings, GENERATED_BPM))


@pytest.mark.parametrize("customers", [1, 2, 3, 5, 10, 20, 50])
def test_nine_in_ten_of_a_small_fleet_are_normal_over_hours(customers: int) -> None:
    """A fixed level would keep a lone customer out of range, or in it, for ever: between 12 and 100 % in an hour."""
    fleets = [draw(customers, 4 * 3600, seed=seed) for seed in (11, 12, 13)]

    for readings in fleets:
        assert normal_shares(readings).mean() == pytest.approx(0.9, abs=0.08 / customers**0.5)
        assert np.abs(np.diff(readings, axis=0)).mean() < 3
