"""
`python -m tests.soak`: the pipeline at full rate, random faults at random moments, then a check of the ledger.

The seed decides which faults come in which order and how long they last; it is printed, and `--seed` repeats it.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

from local.service import Service
from tests.soak.faults import FAULTS, Fault
from tests.soak.system import System
from tests.soak.watch import PARTITIONS, Watch

RECOVERY_S = 60.0  # a fault that is not over by then has failed
TWO_AT_ONCE = 0.2  # of the moments: two faults, on different parts
TOGETHER = "two of them at once"
COUNT_ROWS = """
SELECT count(*), count(DISTINCT id), count(DISTINCT (customer_id, "timestamp")),
       (SELECT count(*) FROM rejected_heartbeats)
FROM heartbeats
"""


class Figures:
    """Per kind of fault: how often, and the worst of it."""

    def __init__(self) -> None:
        self.times: defaultdict[str, int] = defaultdict(int)
        self._pause_s: defaultdict[str, float] = defaultdict(float)
        self._waiting: defaultdict[str, int] = defaultdict(int)

    def add(self, name: str, watch: Watch) -> None:
        self.times[name] += 1
        self._pause_s[name] = max(self._pause_s[name], watch.pause_s)
        self._waiting[name] = max(self._waiting[name], watch.waiting)

    def show(self) -> None:
        print(f"\n{'fault':<46} {'times':>5} {'longest pause of a partition':>28} {'most messages waiting':>21}")
        for name in (*(fault.name for fault in FAULTS), TOGETHER):
            print(f"{name:<46} {self.times[name]:>5} {self._pause_s[name]:>26.1f} s {self._waiting[name]:>21}")


def inject(faults: list[Fault], system: System, watch: Watch, chance: random.Random) -> None:
    """Let faults happen, and watch until the pipeline has caught up and all is well for a moment."""
    failures: list[BaseException] = []

    def happen(fault: Fault, own_chance: random.Random) -> None:
        try:
            fault.inject(system, own_chance)
        except BaseException as error:  # raised again by the main thread
            failures.append(error)

    watch.begin()
    began = time.monotonic()
    threads = [threading.Thread(target=happen, args=(fault, random.Random(chance.random()))) for fault in faults]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        watch.look()
    ended = time.monotonic()
    if failures:
        raise failures[0]
    while not (watch.all_advanced_since(ended) and watch.waiting_now() < system.rate_per_s):
        assert time.monotonic() < ended + RECOVERY_S, f"not recovered {RECOVERY_S:g} s after the fault"
        watch.look()
        system.check()
    print(f"  over after {time.monotonic() - began:.1f} s", flush=True)
    calm = time.monotonic() + chance.uniform(1, 5)
    while time.monotonic() < calm:
        watch.look()


def torment(system: System, watch: Watch, figures: Figures, *, seconds: float, seed: int) -> None:
    """Inject faults for that long, each kind as often as the others."""
    chance = random.Random(seed)
    deadline = time.monotonic() + seconds
    began = time.monotonic()
    waiting: list[Fault] = []
    while time.monotonic() < deadline:
        waiting = waiting or chance.sample(FAULTS, len(FAULTS))
        faults = [waiting.pop()]
        if chance.random() < TWO_AT_ONCE:
            faults.append(chance.choice([fault for fault in FAULTS if fault.touches != faults[0].touches]))
        name = TOGETHER if len(faults) > 1 else faults[0].name
        print(f"{time.monotonic() - began:5.0f} s  {' + '.join(fault.name for fault in faults)}", flush=True)
        inject(faults, system, watch, chance)
        figures.add(name, watch)


def settle(system: System, watch: Watch) -> bool:
    """Stop the producer, wait for the last message, check the ledger; True if nothing is lost and nothing twice."""
    system.stop(system.producer)
    sent = next(system.producer.events("service stopped"))["sent"]
    ends = watch.ends()
    deadline = time.monotonic() + RECOVERY_S
    while watch.passed != ends:
        assert time.monotonic() < deadline, f"the last messages do not arrive: Kafka {ends}, ledger {watch.passed}"
        watch.look()
    for consumer in system.consumers:
        system.stop(consumer)
    verify: Service = system.start("consumer", "verify", "--full")
    code = verify.wait(300)
    print(f"\n{verify.text().strip()}\n")
    rows, by_place, by_content, rejected = system.database.query(COUNT_ROWS)[0]
    held = sum(ends.values())
    lost, twice = held - by_place - rejected, rows - min(by_place, by_content)
    old, bad = system.old_rows, system.unreadable
    print(f"messages: {sent} acknowledged to the producer, {old} of earlier days, {bad} unreadable ones")
    print(f"{held} in Kafka, {rows} in the table, {rejected} rejected")
    print(f"lost: {lost}  twice: {twice}")
    is_whole = sent + old + bad == held and rejected == bad
    return code == 0 and is_whole and lost == 0 and twice == 0


def main() -> int:
    """Run what the command line asks for; 1 if anything is lost, twice or stuck."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Random faults at full rate.")
    parser.add_argument("--seconds", type=float, default=600, help="of faults (default: %(default)s)")
    parser.add_argument("--rate", type=int, default=1000, help="messages a second (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="repeats a run (default: random)")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    print(f"seed {given.seed}, {given.rate} messages a second, {given.seconds:g} s of faults", flush=True)
    figures = Figures()
    folder = Path(tempfile.mkdtemp(prefix="heartbeat-soak-"))
    system = System(folder, given.rate, given.seed)
    try:
        with system.running():
            watch = Watch(system.topic, system.database)
            watch.begin()
            while len(watch.passed) < PARTITIONS or not watch.all_advanced_since(0):
                watch.look()
                system.check()
            torment(system, watch, figures, seconds=given.seconds, seed=given.seed)
            good = settle(system, watch)
    except (AssertionError, TimeoutError) as error:
        print(f"FAILED: {error}")
        good = False
    figures.show()
    faults = sum(figures.times.values())
    print(f"\n{faults} moments of faults, seed {given.seed}: {'nothing lost, nothing twice' if good else 'FAILED'}")
    if good:
        shutil.rmtree(folder)
    else:
        print(f"logs and data: {folder}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
