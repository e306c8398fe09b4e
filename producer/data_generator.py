"""Heart rates that read like people's: everybody has a level of their own and drifts around it."""

import math
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

LOWEST_BPM: Final = 50
HIGHEST_BPM: Final = 120
NORMAL_BPM: Final = range(60, 101)  # an adult's at rest, as the American Heart Association has it
NORMAL_SHARE: Final = 0.90  # of the readings at any moment

# People at rest: mean 65 bpm, range 40 to 109 (Quer 2020, PLOS ONE 15:e0227709); ours are awake and about. Of a normal
# curve of this width in the middle of 60..100, 90 % lie within it anyway: fixing the share leaves no step at its edges.
MEAN_BPM: Final = 80.0
SD_BPM: Final = 12.45

# How long a deviation from one's level lasts (s), and its variance, between people's levels being about 1. Sums of such
# terms have the long memory of real heart rates (Peng 1993, Phys. Rev. Lett. 70:1343). Together they make 3.5 bpm around
# one's level; wearables find 3 to 5 within a person (medRxiv 19008771). A step from one second to the next is half a
# beat on average, and 3 are rare.
DRIFTS: Final = ((5.0, 0.0015), (60.0, 0.045), (600.0, 0.025))

# Of the normal curve, no levels are drawn from the outer 4 % on either side: whoever lives at a limit would stick to it.
LEVEL_MARGIN: Final = 0.04

CELLS_PER_SD: Final = 256  # of the table to bpm; finer than a bpm by a factor of 20
TABLE_SD: Final = 4  # the table's half: the outermost level, 1.75, and eight times the drifts' deviation


class DataGenerator:
    """
    Draws everybody's next heart rate.

    A customer is a fixed level plus slowly varying terms; a table bends their sum to the population's distribution.
    Levels are drawn one from each of equal parts of the population, so that `NORMAL_SHARE` holds closely at any moment
    even for few customers. Same seed and same calls give the same heart rates.

    Args:
        customers: How many; here they are numbered from 0.
        interval_s: Time between two readings of a customer; 0 counts as a second.
        seed: Makes the draws repeatable.
    """

    def __init__(self, customers: int, *, interval_s: float, seed: int) -> None:
        self._random = np.random.Generator(np.random.SFC64(seed))
        lasting_s, variance = (np.array(column)[:, None] for column in zip(*DRIFTS, strict=True))
        kept = np.exp(-(interval_s or 1.0) / lasting_s)
        # In cells of the table, so that reading is adding, cutting and looking up; float32, for half the memory traffic.
        part = (self._random.permutation(customers) + self._random.random(customers)) / customers
        self._level = (CELLS_PER_SD * (_level(part) + TABLE_SD)).astype(np.float32)
        self._kept = kept.astype(np.float32)
        self._fresh = (CELLS_PER_SD * np.sqrt(variance * (1 - kept**2))).astype(np.float32)
        self._drifts = self._random.standard_normal((len(DRIFTS), customers), np.float32)
        self._drifts *= (CELLS_PER_SD * np.sqrt(variance)).astype(np.float32)
        self._bpm = _bpm_table()

    def read(self, first: int, last: int) -> NDArray[np.uint8]:
        """Take the next reading of the customers `first` to `last` (exclusive): beats per minute."""
        drifts = self._drifts[:, first:last]
        drifts *= self._kept
        drifts += self._random.standard_normal(drifts.shape, np.float32) * self._fresh
        cells = drifts.sum(axis=0) + self._level[first:last]
        return self._bpm.take(cells.astype(np.intp), mode="clip")


def _scale() -> NDArray[np.float64]:
    """Give the middles of the table's cells."""
    return (np.arange(2 * TABLE_SD * CELLS_PER_SD) + 0.5) / CELLS_PER_SD - TABLE_SD


def _normal_cdf() -> NDArray[np.float64]:
    return np.array([NormalDist().cdf(x) for x in _scale()])


def _level(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the levels below which these parts (0 to 1) of the population's levels lie."""
    return np.interp(LEVEL_MARGIN + (1 - 2 * LEVEL_MARGIN) * part, _normal_cdf(), _scale())


def _bpm_table() -> NDArray[np.uint8]:
    """Give the bpm for each cell: at the same quantile of all readings as the cell is of all levels with their drifts."""
    levels = _level((np.arange(200) + 0.5) / 200)  # enough: they lie closer than a tenth of the drifts' deviation
    drift = math.sqrt(sum(variance for _, variance in DRIFTS))
    below = np.interp((_scale()[:, None] - levels) / drift, _scale(), _normal_cdf()).mean(axis=1)

    bpm = np.arange(LOWEST_BPM, HIGHEST_BPM + 1)
    weight = np.exp(-0.5 * ((bpm - MEAN_BPM) / SD_BPM) ** 2)
    normal = (bpm >= NORMAL_BPM.start) & (bpm < NORMAL_BPM.stop)
    weight[normal] *= NORMAL_SHARE / weight[normal].sum()
    weight[~normal] *= (1 - NORMAL_SHARE) / weight[~normal].sum()
    return (LOWEST_BPM + np.searchsorted(weight.cumsum()[:-1], below)).astype(np.uint8)
