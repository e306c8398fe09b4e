"""
Runs schedules: first the plain one, then all that differ from it in one choice, then in two, and so on.

A choice is a thread and how its call ends, or something from outside. A schedule is a sequence of choices. Its
beginning is given; it goes on with the first choice each time, which is fair: what waits longest, and no fault. So each
schedule also shows that everything is stored after the faults have ended.

A schedule ends early at a state in which an earlier one was: that one has gone on from there, and all that differ from
it are due. So no two schedules make the same choice in the same state.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Final, NamedTuple

from tests.explore.scheduler import PLAIN, Task
from tests.explore.state import state_of
from tests.explore.world import Bounds, World, WrongError

MOST_STEPS: Final = 600  # a fair schedule needs fewer than a hundred
BEGIN, END = -1, -2  # beside the states, which are positive


class Option(NamedTuple):
    """What may be done next."""

    name: str
    do: Callable[[], object]
    task: Task | None


@dataclass
class Found:
    """A schedule that breaks a claim: what was chosen other than the first option, by step; and why it is wrong."""

    bounds: Bounds
    choices: tuple[int, ...]
    error: BaseException

    def story(self) -> str:
        """Return the schedule as lines; `Run(bounds).play(choices)` repeats it."""
        told = Run(self.bounds, is_recording=True)
        told.play(self.choices)
        return "\n".join([*told.world.story, f"WRONG: {told.error!r}", f"{self.bounds}, choices {self.choices}"])


@dataclass
class Explored:
    """
    What was looked at.

    `runs` made `steps`. `following` has for each state the states after each choice that was made there.
    """

    runs: int = 0
    steps: int = 0
    seconds: float = 0.0
    is_complete: bool = False
    found: Found | None = None
    following: dict[int, list[int]] = field(default_factory=dict)

    def schedules(self) -> int:
        """
        Count the different sequences of choices that were covered: the ways through the states from the first one.

        Two of them differ in at least one choice. A way that comes back to one of its own states is not counted.
        """
        ways = {END: 1}
        stack = [next(iter(self.following))] if self.following else []
        while stack:
            state = stack[-1]
            if state not in ways:
                ways[state] = 0  # while its own followers are counted
                stack += [after for after in self.following[state] if after not in ways]
            else:
                stack.pop()
                if state != END and not ways[state]:
                    ways[state] = sum(ways[after] for after in self.following[state])
        return ways[next(iter(self.following))] if self.following else self.runs


class Run:
    """One schedule."""

    def __init__(self, bounds: Bounds, *, is_recording: bool = False) -> None:
        self.world = World(bounds, is_recording=is_recording)
        self.steps = 0
        self.choices = bytearray()
        self.error: BaseException | None = None
        self.has_ended = False

    def options(self) -> list[Option]:
        """Return what may be done next, the fair choice first."""
        tasks = [task for consumer in self.world.consumers for task in consumer.tasks if not task.dead]
        ready = [task for task in tasks if task.is_ready()]
        for task in ready:
            if task.where == "starts" and task.name in {
                "loop",
                "writer",
                "blockers",
            }:  # which starts first makes no difference
                return [Option("", task.switch, task)]
        # Writers first: they end. Then the loop that has not run for longest.
        ready.sort(key=lambda task: (task.name == "loop", task.ran_at))
        may_fail, is_told = self.world.left["faults"] > 0, self.world.is_recording
        found = [
            Option(name_of(task, outcome) if is_told else "", partial(task.switch, outcome), task)
            for task in ready
            for outcome in (task.outcomes if may_fail else PLAIN)
        ]
        # No fault before the alternatives without one.
        if found:
            found += [Option(name, _spending(self.world, what, do), None) for what, name, do in self.world.actions()]
        return found

    def take(self, option: Option) -> None:
        """Do it."""
        self.steps += 1
        if option.name:
            self.world.tell(option.name)
        if option.task is not None:
            option.task.ran_at = self.steps
            option.task.frames = None
        option.do()
        if self.steps > MOST_STEPS:
            raise WrongError(f"not everything is stored after {MOST_STEPS} steps")

    def play(self, choices: Sequence[int], at_choice: Callable[[int], bool] = lambda _: True) -> None:
        """
        Make the given choices, then the first one each time, until nothing is left to do.

        Args:
            choices: The places of the options, of those moments only that have more than one.
            at_choice: Is told of the number of options after the given ones are used up; False ends it.
        """
        given = iter(choices)
        left = len(choices)
        try:
            while options := self.options():
                place = 0
                if len(options) > 1:
                    if left:
                        place = next(given)
                        left -= 1
                    elif not at_choice(len(options)):
                        return
                    self.choices.append(place)
                self.take(options[place])
            self.world.poll_idle()
            self.world.check_end()
            self.has_ended = True
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
            self.error = error
        finally:
            self.world.close()


def name_of(task: Task, outcome: str) -> str:
    """Return what a thread does when it runs on, in words."""
    end = f": {outcome}" if outcome else ""
    return f"{task.process.name}'s {task.name} {task.where}{end}"


def _spending(world: World, what: str, do: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        world.left[what] -= 1
        do()

    return run


def explore(bounds: Bounds, *, seconds: float = math.inf, runs: float = math.inf) -> Explored:
    """Run schedules until all were covered, one is wrong, or the time or the number of runs is over."""
    result = Explored()
    following = result.following
    waiting: deque[tuple[bytes, int]] = deque([(b"", BEGIN)])
    began = monotonic()
    while waiting and result.runs < runs and monotonic() - began < seconds:
        run = Run(bounds)
        choices, state = waiting.popleft()
        own = {state}

        def at_choice(count: int, run: Run = run, own: set[int] = own) -> bool:
            nonlocal state
            before, state = state, state_of(run.world)
            if before != BEGIN:
                following[before].append(state)
            if state in following:
                return state in own
            following[state] = []
            own.add(state)
            here = bytes(run.choices)
            waiting.extend((here + bytes([place]), state) for place in range(1, count))
            return True

        run.play(choices, at_choice)
        result.runs += 1
        result.steps += run.steps
        if run.error is not None:
            result.found = Found(bounds, tuple(run.choices), run.error)
            break
        if run.has_ended and state != BEGIN:
            following[state].append(END)
    result.is_complete = not waiting and result.found is None
    result.seconds = monotonic() - began
    return result
