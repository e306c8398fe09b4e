"""
The loop in all orders of events up to a bound, driven by a scheduler: tests/explore.

A schedule is a sequence of choices: which thread runs on, how its call ends, or what happens from outside. Safety:
after each commit, each offset before the ledger's has one row in one of the two tables, that of its record, and no
other offset has one. Liveness: when no fault comes any more, all records are stored, and the ledger is at the end.

A wrong schedule is printed with its bounds and choices. `Run(bounds).play(choices)` repeats it, as a test of its own.
"""

import random
from collections.abc import Iterator
from typing import Final

import pytest

from tests.explore.mutations import MUTATIONS, Mutation
from tests.explore.scheduler import scheduled
from tests.explore.search import Run, explore
from tests.explore.state import state_of
from tests.explore.world import Bounds, Store, World
from tests.memory import RecordId
from tests.store_claims import StoreClaims

SMALL: Final = [
    Bounds(),
    Bounds(kills=1),
    Bounds(records=(2, 1), writers=1, moves=1),
    Bounds(records=(2,), writers=1, losses=1),
    Bounds(records=(2,), faults=2, consumers=1),
    Bounds(records=(2,), consumers=1, remakes=1),
]
LARGE: Final = [
    Bounds(moves=1, faults=1),
    Bounds(losses=1, faults=1),
    Bounds(moves=1, remakes=1, stops=1, kills=1),
    Bounds(faults=3, moves=2, losses=2, remakes=1, stops=1, kills=1),
]
LARGE_RUNS: Final = 2500  # `python -m tests.explore --seconds 3600` goes on


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    with scheduled():
        yield


@pytest.mark.parametrize("bounds", SMALL, ids=str)
def test_no_schedule_of_small_bounds_is_wrong(bounds: Bounds) -> None:
    """All of them, which is a proof for these bounds."""
    result = explore(bounds)

    assert result.found is None, result.found.story()
    assert result.is_complete


@pytest.mark.parametrize("bounds", LARGE, ids=str)
def test_no_schedule_of_large_bounds_is_wrong(bounds: Bounds) -> None:
    """Those with the fewest deviations from the plain order come first: a defect that needs few is found."""
    result = explore(bounds, runs=LARGE_RUNS)

    assert result.found is None, result.found.story()
    assert result.schedules() > 1_000_000


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_missing_guard_is_noticed(mutation: Mutation) -> None:
    """A search that finds nothing proves only as much as it would find."""
    with mutation.applied():
        found = explore(mutation.bounds, seconds=60).found
        assert found is not None
        again = Run(mutation.bounds)
        again.play(found.choices)

        assert repr(again.error) == repr(found.error)
        assert f"WRONG: {found.error!r}" in found.story()


@pytest.mark.parametrize("bounds", [*SMALL, *LARGE], ids=str)
def test_same_state_has_the_same_future(bounds: Bounds) -> None:
    """Otherwise the search would leave out schedules that it has not looked at. Walks of chance, from seed 0 on."""
    seen: dict[tuple[int, str], tuple[int, frozenset[str]]] = {}
    for seed in range(60):
        chance, run = random.Random(seed), Run(bounds, is_recording=True)
        before: tuple[int, str] | None = None
        while options := run.options():
            names = [option.name for option in options]
            here = state_of(run.world), frozenset(names)
            assert before is None or seen.setdefault(before, here) == here
            chosen = chance.choice(options)
            before = (here[0], chosen.name) if names.count(chosen.name) == 1 else None  # of two writers
            run.take(chosen)
        run.world.close()


class Tables:
    """The explored database."""

    def __init__(self) -> None:
        self._world = World(Bounds(records=(9, 9), consumers=0))

    def open(self) -> Store:
        return Store(self._world)

    def rows(self) -> list[RecordId]:
        return self._world.tables.record_ids()

    def rejected(self) -> list[RecordId]:
        return [(1, one.record.partition(), one.record.offset()) for one in self._world.tables.rejected]


@pytest.fixture
def tables() -> Tables:
    return Tables()


class TestExploredStore(StoreClaims):
    """The claims of tests/store_claims.py."""
