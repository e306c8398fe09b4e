"""Guards that are taken out of the code, one at a time: the search must notice each."""

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Final

import pytest

from consumer.report import StoredReport
from consumer.worker import Worker
from store import ledger
from tests.explore import world
from tests.explore.world import Bounds, Tables
from tests.memory import MemorySource


@dataclass(frozen=True)
class Mutation:
    """
    Another text in a function.

    Args:
        name: What is wrong then.
        owner, function: Where it stands.
        old, new: The texts.
        bounds: Where it shows.
    """

    name: str
    owner: object
    function: str
    old: str
    new: str
    bounds: Bounds

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Run the changed code."""
        original = inspect.getattr_static(self.owner, self.function)
        text = textwrap.dedent(inspect.getsource(original))
        assert text.count(self.old) == 1, f"{self.function} has changed"
        names: dict[str, object] = {}
        assert isinstance(original, FunctionType)
        code = compile(text.replace(self.old, self.new), inspect.getfile(original), "exec")
        exec(code, original.__globals__, names)  # noqa: S102 - the project's own code
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.owner, self.function, names[self.function])
            if self.owner is ledger:
                patch.setattr(world, self.function, names[self.function])
            yield


ONE: Final = Bounds(records=(2, 1), writers=1)
FORGET: Final = "source.forget_positions()"
MUTATIONS: Final = [
    Mutation("the ledger advances from any offset", Tables, "fence", "!= start", "!= found", Bounds(losses=1)),
    Mutation(
        "the ledger advances in another transaction than the rows", Tables, "commit",
        "self.move(batch)", "pause('has stored the rows'); self.move(batch)", Bounds(records=(1,), writers=1, kills=1),
    ),
    Mutation(
        "a waiting batch is dropped if one of its partitions was revoked", Worker, "_hand_over",
        "if not held:", "if len(held) < len(batch.slices):", Bounds(records=(2, 2), writers=1, moves=1),
    ),
    Mutation(
        "a stale batch does not forget the positions", Worker, "_finish",
        "case StaleOwnerError() as error:\n            " + FORGET, "case StaleOwnerError() as error:\n            pass",
        Bounds(losses=1),
    ),
    Mutation(
        "a failed write does not forget the positions", Worker, "_finish",
        "case OutageError() | ConfigError() as error:\n            " + FORGET,
        "case OutageError() | ConfigError() as error:\n            pass",
        Bounds(records=(1, 1), writers=1, faults=1),
    ),
    Mutation("the topic is not checked", MemorySource, "check_topic", "self.gone", "None", Bounds(remakes=1)),
    Mutation(
        "the offsets of a replaced topic are shown as those of the next one", StoredReport, "stored",
        " if part.partition in self._ledger", "", Bounds(records=(2,), consumers=1, remakes=1),
    ),
    Mutation(
        "a write of a replaced topic ends the session that reads the next one", Worker, "_finish",
        "write.source is not source", "False", Bounds(consumers=1, remakes=1),
    ),
    Mutation(
        "the ledger counts one offset less", ledger, "steps",
        "part.to_offset for part in slices", "part.to_offset - 1 for part in slices", ONE,
    ),
]  # fmt: skip
