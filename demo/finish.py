"""The demo's end: nothing more is sent, what was sent is stored, and the books are checked."""

import sys
from collections.abc import Mapping
from typing import Final

from rich.console import Console

from common.errors import OutageError
from demo.watch import Pipeline
from local.child import Child
from local.service import ROOT
from local.waiting import wait_until

DATA: Final = ROOT / ".local" / "demo"  # git-ignored; the next run goes on with it
VERIFY: Final = ("-m", "consumer", "verify", "--full")
CATCH_UP_S: Final = 60.0  # for the consumer, once nothing more is sent; it takes a tenth of a second
VERIFY_S: Final = 600.0  # it counts every row
HURRIED_S: Final = 20.0  # each of the two after a Ctrl-C: somebody is waiting
LOOK_S: Final = 0.2


def finish(pipeline: Pipeline, console: Console, environment: Mapping[str, str], *, lock: int, hurried: bool) -> int:
    """
    Stop the services in order and prove that nothing was lost.

    Args:
        pipeline: What runs.
        console: Where to say so.
        environment: For the verification.
        lock: Descriptor that it inherits, as the services do.
        hurried: Ctrl-C: what takes too long is left undone, and is no failure.
    Returns:
        The exit code: 0 if the books balance and, unless hurried, everything ended as it should.
    """
    console.print("stopping the producer")
    troubles = [] if (code := pipeline.producer.stop()) == 0 else [f"the producer's exit code is {code}"]
    console.print("waiting until the consumer has stored what was sent")
    if not _caught_up(pipeline, hurried=hurried):
        troubles.append("the consumer did not catch up in time")
    if code := pipeline.consumer.stop():
        troubles.append(f"the consumer's exit code is {code}")

    console.print("checking the books: python " + " ".join(VERIFY))
    patience_s = HURRIED_S if hurried else VERIFY_S
    verdict = _verify(environment, lock, patience_s)
    if verdict is None:
        troubles.append(f"the check was not done after {patience_s:.0f} s")
    for trouble in troubles:
        console.print(f"note: {trouble}")
    console.print(f"the data stays in {DATA.relative_to(ROOT)}, the next demo goes on with it")
    if hurried:
        return verdict or 0
    return int(bool(verdict or troubles))


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
