"""
Episodes: some people fall silent, have a high or a low heart rate, or have a sensor that repeats one value.

The seed alone decides the episodes of any period. So a test can list them, and knows what the generator sent. No state
is kept from one episode to the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from producer.data_generator import HeartRates, population


class Kind(StrEnum):
    """What happens to the person; the same words as in the table `alarms`."""

    SILENT = "silent"
    HIGH = "high"
    LOW = "low"
    STUCK = "stuck"


# How long an episode lasts (s): longer than its alarm needs by default (15 s, 60 s, 10 minutes); arbitrary beyond that.
LASTING_S: Final = {Kind.SILENT: (30, 300), Kind.HIGH: (180, 480), Kind.LOW: (180, 480), Kind.STUCK: (780, 1200)}
LONGEST_S: Final = max(most for _, most in LASTING_S.values())
APART_S: Final = 600  # the least time between two episodes of a person; one that starts sooner does not happen

# The shift of high and low, in standard deviations of the population. It is about 27 bpm, or eight standard deviations
# of one person, so that hardly anybody goes as far without an episode. It rises and falls within RAMP_S. People whose
# level is near that end of 50..120 have no room for it, so only the others have such episodes.
SHIFT: Final = {Kind.HIGH: 2.2, Kind.LOW: -2.2}
RAMP_S: Final = 30.0
WITH_ROOM: Final = 0.55  # of the population

LOOK_AHEAD_S: Final = 60.0  # a running generator lists the episodes of so long a period at a time; arbitrary


@dataclass(frozen=True, slots=True)
class Episode:
    """What one customer (numbered from 0) sent, or did not send, from `started_at` until just before `ended_at`."""

    kind: Kind
    customer: int
    started_at: datetime
    ended_at: datetime

    def shift(self, at: datetime) -> float:
        """Return the shift of the person's level at this time, in standard deviations of the population."""
        since_s, left_s = (at - self.started_at).total_seconds(), (self.ended_at - at).total_seconds()
        return SHIFT.get(self.kind, 0.0) * min(1.0, max(0.0, min(since_s, left_s) / RAMP_S))


def episodes(seed: int, customers: int, per_hour: float, begins: datetime, ends: datetime) -> list[Episode]:
    """
    List the episodes that overlap a period.

    Args:
        seed: The seed of the generator.
        customers: How many there are.
        per_hour: Episodes of each kind, of all customers together: one in each `3600 / per_hour` seconds. There are
            fewer if one person would have two episodes within APART_S. 0: none.
        begins: Begin of the period, in 1970 or later.
        ends: End of the period, exclusive.
    Returns:
        The episodes, ordered by their starts.
    """
    if not per_hour or ends <= begins:
        return []
    by_level = _customers_by_level(seed, customers)
    from_s, until_s = begins.timestamp() - LONGEST_S, ends.timestamp()
    found = [
        _episode(kind, seed, by_level, 3600 / per_hour, slot)
        for kind in Kind
        # The episodes of the period, and earlier ones that can prevent them.
        for slot in range(
            max(0, int((from_s - LONGEST_S - APART_S) * per_hour / 3600)), int(until_s * per_hour / 3600) + 1
        )
    ]
    found.sort(key=lambda episode: episode.started_at)
    free: dict[int, float] = {}  # the time from which a customer can have another episode
    listed = []
    for episode in found:
        happens = free.get(episode.customer, 0.0) <= episode.started_at.timestamp()
        # An episode that does not happen counts, too: otherwise the result would depend on all episodes before it.
        free[episode.customer] = max(free.get(episode.customer, 0.0), episode.ended_at.timestamp() + APART_S)
        if happens and episode.started_at < ends and episode.ended_at > begins:
            listed.append(episode)
    return listed


def _episode(kind: Kind, seed: int, by_level: npt.NDArray[np.intp], slot_s: float, slot: int) -> Episode:
    """Draw the episode of a kind that starts in this slot of time, from random numbers that depend only on the slot."""
    start, lasting, person = np.random.default_rng((seed, list(Kind).index(kind), slot)).random(3)
    if kind in SHIFT:
        person *= WITH_ROOM
    if kind is Kind.LOW:
        person = 1 - WITH_ROOM + person
    least_s, most_s = LASTING_S[kind]
    started_s = (slot + start) * slot_s
    ended_s = started_s + least_s + lasting * (most_s - least_s)
    customer = int(by_level[int(person * len(by_level))])
    return Episode(kind, customer, datetime.fromtimestamp(started_s, UTC), datetime.fromtimestamp(ended_s, UTC))


@lru_cache(maxsize=1)
def _customers_by_level(seed: int, customers: int) -> npt.NDArray[np.intp]:
    return np.argsort(population(customers, np.random.Generator(np.random.SFC64(seed))))


class EpisodicRates:
    """
    Draws everybody's next heart rate, with the episodes of that moment.

    Args:
        rates: The same people's heart rates without episodes, from the same seed.
        seed: Decides the episodes.
        customers: How many there are.
        per_hour: As for `episodes`.
    """

    def __init__(self, rates: HeartRates, seed: int, customers: int, per_hour: float) -> None:
        self._rates = rates
        self._of = (seed, customers, per_hour)
        self._from_s = self._until_s = 0.0
        self._listed: Sequence[Episode] = ()
        self._stuck_bpm: dict[int, int] = {}
        self._moved: set[int] = set()

    def read(self, first: int, last: int, at: datetime) -> tuple[npt.NDArray[np.int16], list[int]]:
        """
        Take the next reading of the customers `first` to `last` (exclusive).

        Args:
            first: The first customer, from 0.
            last: The one after the last.
            at: When they are read; the episodes belong to this time.
        Returns:
            Beats per minute; and the indexes, the highest first, of the readings that silent people do not send.
        """
        at_s = at.timestamp()
        if not self._from_s <= at_s < self._until_s:
            self._list(at_s)
        affected = [e for e in self._listed if first <= e.customer < last and e.started_at <= at < e.ended_at]
        if affected or self._moved:
            self._move({e.customer: e.shift(at) for e in affected if e.kind in SHIFT}, first, last)
        rates_bpm = self._rates.read(first, last)
        for episode in affected:
            if episode.kind is Kind.STUCK:
                index = episode.customer - first
                rates_bpm[index] = self._stuck_bpm.setdefault(episode.customer, int(rates_bpm[index]))
        return rates_bpm, sorted((e.customer - first for e in affected if e.kind is Kind.SILENT), reverse=True)

    def _move(self, shifts: dict[int, float], first: int, last: int) -> None:
        """Move the levels of these customers. Put back those between `first` and `last` that no longer have a shift."""
        back = {customer for customer in self._moved - shifts.keys() if first <= customer < last}
        for customer in back:
            self._rates.move(customer, 0.0)
        for customer, shift in shifts.items():
            self._rates.move(customer, shift)
        self._moved = self._moved - back | shifts.keys()

    def _list(self, at_s: float) -> None:
        self._from_s, self._until_s = at_s, at_s + LOOK_AHEAD_S
        begins, ends = (datetime.fromtimestamp(moment_s, UTC) for moment_s in (self._from_s, self._until_s))
        self._listed = episodes(*self._of, begins, ends)
        stuck = {episode.customer for episode in self._listed if episode.kind is Kind.STUCK}
        self._stuck_bpm = {customer: bpm for customer, bpm in self._stuck_bpm.items() if customer in stuck}
