"""Runs recurring work in independent steps. Each has its own schedule, and its failure stops no other step."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog

from common.errors import ConfigError, OutageError
from store.metrics import MAINTAINED, MAINTENANCE_FAILURES

LOOK_EVERY_S: Final = 0.2  # for steps that are due
LONGEST_S: Final = 2.0  # a step with more to do lets the others run after so long


class Done(Enum):
    """How a call of a step ended."""

    ALL = "nothing is left to do"
    PART = "more is to do at once"
    LATER = "more is to do, but other work comes first"
    NOT_OURS = "another process is doing this work"


@dataclass(slots=True)
class Step:
    """One step: `run` does a bounded amount of work, and raises `OutageError` or `ConfigError` if it fails."""

    name: str
    every_s: float
    run: Callable[[], Done]
    due: float = 0.0
    failure: str | None = None

    def attempt(self) -> bool:
        """Run the step, and log its failure if the cause is new. Return False if it failed."""
        log = structlog.get_logger()
        try:
            done = self.run()
        except (OutageError, ConfigError) as error:
            MAINTENANCE_FAILURES.labels(self.name).inc()
            if self.failure != error.message:
                self.failure = error.message
                log.warning("maintenance failed", step=self.name, **error.fields)
            self.due = time.monotonic() + self.every_s
            return False
        self.due = time.monotonic() + (0 if done is Done.PART else self.every_s)
        if done is not Done.NOT_OURS:
            MAINTAINED.labels(self.name).set_to_current_time()
            if self.failure is not None:
                self.failure = None
                log.info("maintenance recovered", step=self.name)
        return True


def run_due(
    gate: Step, steps: Sequence[Step], stop: threading.Event, note_failure: Callable[[str], None] = lambda _: None
) -> None:
    """
    Run every step that is due, in order.

    Args:
        gate: Runs before each step. While it fails, no step runs.
        steps: Independent of each other.
        stop: Ends the round early.
        note_failure: Gets the step and the cause of each new failure. One that the gate shares is an outage.
    """
    now = time.monotonic()
    if gate.failure is not None and gate.due > now:
        return
    for step in [step for step in steps if step.due <= now]:
        if stop.is_set() or not gate.attempt():
            return
        before = step.failure
        if not step.attempt() and step.failure != before and gate.attempt():
            note_failure(f"{step.name}: {step.failure}")
