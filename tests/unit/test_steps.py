"""Recurring steps: each on its own schedule, and no failure stops another step."""

import threading
import time
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from common.errors import ConfigError, HeartbeatError, OutageError
from store import steps
from store.steps import Done, Step, run_due


@dataclass
class Work:
    """What a step does: what was called, and what fails with which message."""

    calls: list[str] = field(default_factory=list)
    failing: dict[str, HeartbeatError] = field(default_factory=dict)
    parts: int = 0

    def step(self, name: str, every_s: float = 60.0) -> Step:
        """Make a step that does this work."""
        return Step(name, every_s, lambda: self._run(name))

    def _run(self, name: str) -> Done:
        self.calls.append(name)
        if error := self.failing.get(name):
            raise error
        if name == "long" and self.parts:
            self.parts -= 1
            return Done.PART
        return Done.NOT_OURS if name == "other" else Done.ALL


class Clock:
    """Time that a test moves."""

    now_s = 1000.0

    def monotonic(self) -> float:
        """Return it."""
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(steps, "time", moved)
    return moved


def away(message: str) -> OutageError:
    return OutageError(message, hint="Wait.")


def metric(name: str, step: str) -> float:
    return REGISTRY.get_sample_value(f"heartbeat_consumer_maintenance_{name}", {"step": step}) or 0.0


@pytest.mark.parametrize("error", [away("x"), ConfigError("x", hint="Mend it.")])
def test_failing_step_keeps_no_other_from_running(clock: Clock, error: HeartbeatError) -> None:
    """A refresh that fails for ever must not keep old days from being dropped."""
    work = Work(failing={"first": error})
    plan = [work.step("first", 5.0), work.step("second")]
    for _ in range(13):
        run_due(work.step("gate"), plan, threading.Event())
        clock.now_s += 5

    assert work.calls.count("first") == 13
    assert work.calls.count("second") == 2


def test_long_step_lets_the_others_have_their_turn(clock: Clock) -> None:
    """What is not done yet goes on at once, and behind those that are due."""
    work = Work(parts=3)
    plan = [work.step("long"), work.step("short", 0.0)]
    for _ in range(5):
        run_due(Step("gate", 0.0, lambda: Done.ALL), plan, threading.Event())

    assert work.calls == ["long", "short", "long", "short", "long", "short", "long", "short", "short"]
    assert clock.now_s == 1000.0


def test_failure_is_told_once_for_each_cause_and_its_end_once(clock: Clock) -> None:
    """A warning a minute hides others; none at all hides the failure."""
    work = Work()
    plan = [work.step("told", 5.0)]
    before = metric("failures_total", "told")
    causes = [away("full"), away("full"), away("locked"), away("locked"), None, None, away("full")]
    with capture_logs() as logs:
        for cause in causes:
            work.failing = {"told": cause} if cause else {}
            run_due(Step("gate", 0.0, lambda: Done.ALL), plan, threading.Event())
            clock.now_s += 5

    assert [(log["event"], log.get("error"), log["log_level"]) for log in logs] == [
        ("maintenance failed", "full", "warning"),
        ("maintenance failed", "locked", "warning"),
        ("maintenance recovered", None, "info"),
        ("maintenance failed", "full", "warning"),
    ]
    assert metric("failures_total", "told") - before == 5


def test_last_success_is_the_last_that_this_process_had(clock: Clock) -> None:
    """Neither a failure nor another process's turn counts."""
    work = Work(failing={"bad": away("x")})
    began = time.time()
    run_due(work.step("gate"), [work.step(name) for name in ("good", "bad", "other")], threading.Event())

    assert metric("last_success_timestamp_seconds", "good") >= began
    assert metric("last_success_timestamp_seconds", "bad") == 0
    assert metric("last_success_timestamp_seconds", "other") == 0
    assert clock.now_s == 1000.0


def test_outage_is_one_failure_and_is_not_tried_all_the_time(clock: Clock) -> None:
    """While the database is away, no step adds its own warning."""
    work = Work(failing={"gate": away("away")})
    gate, plan = work.step("gate", 5.0), [work.step("one"), work.step("two")]
    with capture_logs() as logs:
        for _ in range(50):
            run_due(gate, plan, threading.Event())
            clock.now_s += 0.2

    assert work.calls == ["gate", "gate"]
    assert [log["event"] for log in logs] == ["maintenance failed"]
    work.failing = {}
    clock.now_s += 5
    run_due(gate, plan, threading.Event())
    assert work.calls[2:] == ["gate", "one", "gate", "two"]


def test_stop_ends_the_round() -> None:
    """A service that is to end does not begin another step."""
    work, stop = Work(), threading.Event()

    def first() -> Done:
        stop.set()
        return Done.ALL

    run_due(Step("gate", 0.0, lambda: Done.ALL), [Step("first", 0.0, first), work.step("second")], stop)

    assert work.calls == []
