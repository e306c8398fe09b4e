"""
What others make of the same topic, table and servers: speed, cost, and what one bad message does to its neighbours.

Each runs once, after a plain COPY of the same rows. What it stores first is not measured: Java compiles while it runs.
The peers leave `id` to the table's default, which counts up; all else about the table is as it is.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.cost import PeakMemory, cpu_s
from benchmarks.drain import FLOOR, Run, drain, dump, floor
from benchmarks.peers import bad, connect, flink
from benchmarks.peers.bad import Outcome
from benchmarks.peers.java import FOLDER, fetch
from benchmarks.peers.table import attempted, empty, stored
from benchmarks.report import write_section
from benchmarks.stack import Stack, readings, stack
from local.waiting import wait_until

ROWS: Final = 1_500_000
FEW: Final = 20_000  # for the one that stores row by row
WARM_UP: Final = 0.4  # of the messages, not measured
TOPIC: Final = "peers"
PARTS: Final = ("sink", "PostgreSQL", "broker")
OURS: Final = {"consumer": "sink", "client": "sink"}  # what drain calls the same


@dataclass(frozen=True)
class Peer:
    """A program that stores the topic, what it promises so configured, and whether it gets but a few messages."""

    title: str
    module: str
    guarantee: str
    few: bool = False


PEERS: Final = {
    "consumer": Peer("our consumer", "consumer", "exactly once"),
    "connect": Peer("Kafka Connect, Debezium's JDBC sink", connect.__name__, "at least once"),
    "flink": Peer("Flink SQL", flink.__name__, "at least once"),
    "rows": Peer("row by row", "benchmarks.peers.rows", "can lose and repeat", few=True),
}
JARS: Final = {"connect": connect.PINS, "flink": flink.PINS}


def store(running: Stack, peer: Peer, topic: str, rows: int) -> Run:
    """Have a peer store a topic of so many messages; measure once the first of them are rows."""
    empty(running)
    with running.start(peer.module, topic, **{FOLDER: str(running.logs)}) as service:
        pid, peak = service.process.pid, PeakMemory([service])
        running.wait_for(rows * WARM_UP, [service], lambda: attempted(running), 240)
        start, passed, before = time.perf_counter(), attempted(running), {**running.cpu_s(), "sink": cpu_s(pid)}
        running.wait_for(rows, [service], lambda: attempted(running), 600, peak.look)
        wait_until(lambda: stored(running) >= rows, 60, every_s=0.1)
        took = time.perf_counter() - start
        after = {**running.cpu_s(), "sink": cpu_s(pid)}
    measured = rows - passed
    cpu = {name: (after[name] - before[name]) / measured * 1e6 for name in after}
    return Run(measured / took, cpu, peak.mb)


def alike(run: Run) -> Run:
    """Return the same, its processes named as those of peers."""
    return Run(run.rows_per_s, {OURS.get(n, n): used for n, used in run.cpu_s_per_million.items()}, run.memory_mb)


def measure(running: Stack, rows: int, chosen: Sequence[str]) -> Iterator[tuple[str, Run]]:
    """Yield the floor and each peer in turn, by their titles."""
    running.make_topic(TOPIC, readings(rows, 1000))
    running.make_topic(f"{TOPIC}-few", readings(FEW, 1000))
    drain(running, 1, rows, TOPIC)
    blocks = dump(running)
    for name in chosen:
        yield FLOOR, alike(floor(running, blocks, rows))
        peer = PEERS[name]
        if name == "consumer":
            run = alike(drain(running, 1, rows, TOPIC))
        else:
            run = store(running, peer, f"{TOPIC}-few" if peer.few else TOPIC, FEW if peer.few else rows)
        yield peer.title, run


def compare(
    running: Stack, rows: int, chosen: Sequence[str]
) -> tuple[dict[str, list[Run]], dict[str, dict[str, Outcome]]]:
    """Measure everything, print each figure when it is there; return the runs, and what bad messages do, by titles."""
    for name in chosen:
        if name in JARS:
            fetch(JARS[name])  # not while something is measured
    runs: dict[str, list[Run]] = {}
    for title, run in measure(running, rows, chosen):
        runs.setdefault(title, []).append(run)
        print(f"{title:36} {run}", flush=True)
    outcomes: dict[str, dict[str, Outcome]] = {}
    for peer in (PEERS[name] for name in chosen):
        for kind in bad.BAD:
            outcomes.setdefault(peer.title, {})[kind] = bad.meet(running, peer.module, kind)
            print(f"{peer.title:36} heart rate {kind}: {outcomes[peer.title][kind]}", flush=True)
    return runs, outcomes


def report(running: Stack, rows: int = ROWS) -> None:
    """Write all of it into the report."""
    runs, outcomes = compare(running, rows, list(PEERS))
    base = median(run.rows_per_s for run in runs[FLOOR])
    lines = [
        (
            f"{rows:,} messages ({FEW:,} for row by row), one run each, of the peers without the first {WARM_UP:.0%};"
            f" plain COPY before each, {len(runs[FLOOR])} times, and its median. CPU seconds per million rows."
        ),
        "",
        "| | rows/s | of plain COPY | sink | PostgreSQL | broker | all CPU | memory | delivery |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    guarantees = {peer.title: peer.guarantee for peer in PEERS.values()}
    for title, found in runs.items():
        rate = median(run.rows_per_s for run in found)
        cost = {part: median(run.cpu_s_per_million.get(part, 0.0) for run in found) for part in PARTS}
        parts = " | ".join(f"{cost[part]:.2f}" for part in PARTS)
        lines.append(
            f"| {title} | {rate:,.0f} | {rate / base:.2g} | {parts} | {sum(cost.values()):.2f}"
            f" | {max(run.memory_mb for run in found):,.0f} MB | {guarantees.get(title, '')} |"
        )
    lines += [
        "",
        (
            f"One bad message in the middle of {bad.GOOD:,} good ones of the same partition, and"
            f" {bad.LATER} good ones {bad.EFFECT_S:.0f} s later:"
        ),
        "",
        "| | heart rate | good ones stored | then | the bad message is |",
        "| --- | --- | ---: | --- | --- |",
        *(
            f"| {title} | {bad.BAD[kind].decode()} | {outcome.stored_text} | {outcome.then} | {outcome.kept} |"
            for title, found in outcomes.items()
            for kind, outcome in found.items()
        ),
    ]
    write_section("peers", "\n".join(lines))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.compare", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="messages that wait (default: %(default)s)")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=list(PEERS), help="which (default: all)")
    given = parser.parse_args()
    with stack() as running:
        compare(running, given.rows, given.peers)


if __name__ == "__main__":
    main()
