"""The end of the demo: stop the producer, wait until all is stored, stop the consumer, check the ledger."""

import sys
from collections.abc import Iterator, Mapping
from typing import Final

from rich.console import Console

from common.errors import OutageError
from common.text import visible
from demo.figures import Gauge
from demo.watch import Pipeline
from local.child import Child
from local.service import ROOT
from local.waiting import wait_until

DATA: Final = ROOT / ".local" / "demo"  # git-ignored; the next run continues with it
VERIFY: Final = ("-m", "consumer", "verify", "--full")
CATCH_UP_S: Final = 60.0  # for the consumer, once nothing more is sent; it takes a tenth of a second
VERIFY_S: Final = 600.0  # it counts every row
HURRIED_S: Final = 20.0  # each of the two after a Ctrl-C, since a person waits
LOOK_S: Final = 0.2
OPEN_SHOWN: Final = 5  # alarms listed at the end


def finish(pipeline: Pipeline, console: Console, environment: Mapping[str, str], *, lock: int, hurried: bool) -> int:
    """
    Stop the services in order and check that nothing was lost.

    Args:
        pipeline: What runs.
        console: Gets the progress.
        environment: For the verification.
        lock: Descriptor that it inherits, as the services do.
        hurried: After Ctrl-C: a step that takes too long is skipped, which is no failure.
    Returns:
        The exit code: 0 if the ledger balances and, unless hurried, all services ended with 0.
    """
    console.print("stopping the producer")
    failures = [] if (code := pipeline.producer.stop()) == 0 else [f"the producer's exit code is {code}"]
    console.print("waiting until the consumer has stored what was sent")
    if not _caught_up(pipeline, hurried=hurried):
        failures.append("the consumer did not catch up in time")
    if code := pipeline.consumer.stop():
        failures.append(f"the consumer's exit code is {code}")

    console.print("checking the ledger: python " + " ".join(VERIFY))
    patience_s = HURRIED_S if hurried else VERIFY_S
    exit_code = _verify(environment, lock, patience_s)
    if exit_code is None:
        failures.append(f"the check was not done after {patience_s:.0f} s")
    for line in alarms(pipeline.gauge):
        console.print(line)
    for failure in failures:
        console.print(f"note: {failure}")
    console.print(f"the data stays in {DATA.relative_to(ROOT)}, the next demo continues with it")
    if hurried:
        return exit_code or 0
    return int(bool(exit_code or failures))


def _caught_up(pipeline: Pipeline, *, hurried: bool) -> bool:
    def is_caught_up() -> bool:
        pipeline.consumer.check()
        try:
            return pipeline.gauge.look().lag == 0
        except OutageError:  # no topic yet, if Ctrl-C came that early; `verify` reports what is missing
            if hurried:
                raise
            return False

    try:
        return wait_until(is_caught_up, HURRIED_S if hurried else CATCH_UP_S, every_s=LOOK_S)
    except (OutageError, TimeoutError):
        return False


def alarms(gauge: Gauge) -> Iterator[str]:
    """Return lines about the alarms of this run, and about those that are open at its end."""
    try:
        (opened, ended), figures = gauge.alarms_of_this_run(), gauge.look()
    except OutageError as error:
        yield f"note: {error}"
        return
    if opened or ended:
        yield f"alarms of this run: {_by_kind(opened)} opened, {_by_kind(ended)} ended"
    else:
        yield "no alarm was opened or ended in this run; for more: HEARTBEAT_PRODUCER__EPISODES_PER_HOUR=600 make demo"
    if not figures.alarms:
        yield "no one is in alarm"
        return
    yield f"in alarm now: {_by_kind(figures.open_alarms)}"
    for alarm in figures.alarms[:OPEN_SHOWN]:
        since = f"{alarm.since.astimezone():%Y-%m-%d %H:%M:%S}"
        yield f"  {visible(alarm.customer)} {alarm.kind} since {since}, {alarm.bpm} bpm"
    yield "  all of them, while the demo runs: SELECT * FROM alarms WHERE ended_at IS NULL"


def _by_kind(counts: Mapping[str, int]) -> str:
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
    return f"{sum(counts.values()):,} ({kinds})" if kinds else "0"


def _verify(environment: Mapping[str, str], lock: int, patience_s: float) -> int | None:
    sys.stdout.flush()
    command = [sys.executable, *VERIFY]
    check = Child(command, output=sys.stdout.fileno(), keep_fds=[lock], cwd=ROOT, env=environment)
    try:
        return check.wait(patience_s)
    except TimeoutError:
        return None
    finally:
        check.stop(grace_s=2)
