"""Realistic heart rates: each customer has a level of their own and drifts around it."""

import math
from statistics import NormalDist
from typing import Final

import numpy as np
import numpy.typing as npt

from common.event import GENERATED_BPM, NORMAL_BPM

NORMAL_SHARE: Final = 0.90  # of the readings at any moment

# People at rest: mean 65 bpm, range 40 to 109 (Quer 2020, PLOS ONE 15:e0227709); ours are awake and about. Of a normal
# curve this wide in the middle of 60..100, 90 % lie within it anyway: fixing the share leaves no step at its edges.
MEAN_BPM: Final = 80.0
SD_BPM: Final = 12.45

# How long a deviation from one's level lasts (s), and its variance, that of the levels being about 0.8. Sums of such
# terms have the long memory of real heart rates (Peng 1993, Phys. Rev. Lett. 70:1343). Together they are 3.7 bpm around
# one's level; wearables find 3 to 5 within a person (medRxiv 19008771).
DRIFTS: Final = ((5.0, 0.0015), (60.0, 0.045), (600.0, 0.025))

# No levels are drawn from the outer 4 % of the normal curve on either side: they would mostly read as the limit itself.
LEVEL_MARGIN: Final = 0.04

# So many levels stand for the whole population: they are closer to each other than a tenth of the drifts' deviation.
# Fewer customers get a table made of their own levels; by the population's, one alone could always be out of range.
MANY: Final = 200

CELLS_PER_UNIT: Final = 256  # of the table that turns sums into bpm; a bpm is about 20 cells
TABLE_HALF: Final = 4  # the outermost level, 1.75, and eight standard deviations of the drifts


class HeartRates:
    """
    Draws each customer's next heart rate.

    A customer is a fixed level plus slowly varying terms; a table bends their sum to the population's distribution.
    Levels are drawn one from each of equal parts of the population, so that `NORMAL_SHARE` holds closely at any moment.
    Of few customers it holds over time: each of them covers a larger part of the distribution, one alone all of it.
    Same seed and same calls give the same heart rates.

    Args:
        customers: How many; here they are numbered from 0.
        interval_s: Time between two readings of a customer; 0 counts as a second.
        seed: Makes the draws repeatable; None: different draws every time.
    """

    def __init__(self, customers: int, interval_s: float, seed: int | None) -> None:
        self._random = np.random.Generator(np.random.SFC64(seed))
        part = population(customers, self._random)
        lasting_s, variance = (np.array(column)[:, None] for column in zip(*DRIFTS, strict=True))
        kept = np.exp(-(interval_s or 1.0) / lasting_s)
        levels = _level(part)
        # In cells of the table, so that reading is adding, cutting and looking up; float32 halves the memory traffic.
        self._levels = (CELLS_PER_UNIT * (levels + TABLE_HALF)).astype(np.float32)
        self._own_levels = self._levels.copy()
        self._kept = kept.astype(np.float32)
        self._fresh = (CELLS_PER_UNIT * np.sqrt(variance * (1 - kept**2))).astype(np.float32)
        self._drifts = self._draw(customers)
        self._drifts *= (CELLS_PER_UNIT * np.sqrt(variance)).astype(np.float32)
        self._bpm = _bpm_of_cells(levels if customers < MANY else _level((np.arange(MANY) + 0.5) / MANY))

    def read(self, first: int, last: int) -> npt.NDArray[np.int16]:
        """Return the next reading of the customers `first` to `last` (exclusive), in beats per minute."""
        drifts = self._drifts[:, first:last]
        drifts *= self._kept
        drifts += self._draw(last - first) * self._fresh
        cells = drifts.sum(axis=0) + self._levels[first:last]
        rates_bpm: npt.NDArray[np.int16] = self._bpm.take(cells.astype(np.intp), mode="clip")
        return rates_bpm

    def move(self, customer: int, by: float) -> None:
        """Move a customer's level away from his own, by so many standard deviations of the population; 0: back."""
        self._levels[customer] = self._own_levels[customer] + CELLS_PER_UNIT * by

    def _draw(self, customers: int) -> npt.NDArray[np.float32]:
        """Draw for each term of each customer; customer by customer, so that any `first` and `last` give the same."""
        return self._random.standard_normal((customers, len(DRIFTS)), np.float32).T


def population(customers: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Draw the part of the population (0 to 1) that lies below each customer's level."""
    part: npt.NDArray[np.float64] = (random.permutation(customers) + random.random(customers)) / customers
    return part


def _cells() -> npt.NDArray[np.float64]:
    """Return the middles of the table's cells."""
    return (np.arange(2 * TABLE_HALF * CELLS_PER_UNIT) + 0.5) / CELLS_PER_UNIT - TABLE_HALF


def _normal_cdf() -> npt.NDArray[np.float64]:
    return np.array([NormalDist().cdf(x) for x in _cells()])


def _level(part: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the level that this part of the population (0 to 1) lies below."""
    return np.interp(LEVEL_MARGIN + (1 - 2 * LEVEL_MARGIN) * part, _normal_cdf(), _cells())


def _bpm_of_cells(levels: npt.NDArray[np.float64]) -> npt.NDArray[np.int16]:
    """Map each table cell to the bpm at the same quantile: of all readings, and of all sums of level and drifts."""
    drift = math.sqrt(sum(variance for _, variance in DRIFTS))
    below = np.interp((_cells()[:, None] - levels) / drift, _cells(), _normal_cdf()).mean(axis=1)

    bpm = np.array(GENERATED_BPM, dtype=np.int16)
    weight = np.exp(-0.5 * ((bpm - MEAN_BPM) / SD_BPM) ** 2)
    normal = np.isin(bpm, NORMAL_BPM)
    weight[normal] *= NORMAL_SHARE / weight[normal].sum()
    weight[~normal] *= (1 - NORMAL_SHARE) / weight[~normal].sum()
    of_cells: npt.NDArray[np.int16] = bpm[np.searchsorted(weight.cumsum()[:-1], below)]
    return of_cells
