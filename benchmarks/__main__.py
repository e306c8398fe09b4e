"""`make bench`: measure what docs/performance.md says, on this machine, and write it there."""

import argparse
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median

from benchmarks import drain, flat, latency, plots, send, stages, variants
from benchmarks.peers import compare
from benchmarks.report import write_section
from benchmarks.stack import Stack, readings, stack

PARTS = ("PostgreSQL", "consumer", "client", "broker", "producer")
COSTED_FROM = 1000  # heartbeats/s: of fewer, all that is seen is what the processes cost without any


def report_drain(running: Stack, rounds: int) -> None:
    """Floor, one consumer, two: speed and cost."""
    rows = 2_000_000
    running.make_topic(drain.TOPIC, readings(rows, 1000))
    runs = drain.collect(drain.measure(running, rows, rounds, [1, 2]))
    ratios = {
        name: [run.rows_per_s / floor.rows_per_s for run, floor in zip(found, runs[drain.FLOOR], strict=True)]
        for name, found in runs.items()
    }
    costs = {name: _medians(run.cpu_s_per_million for run in found) for name, found in runs.items()}
    lines = [
        (
            f"{rows:,} waiting messages of 1,000 customers, {rounds} rounds in turn; CPU seconds per million rows,"
            " medians; the ratio is the median of the rounds' (in brackets: the lowest and the highest)."
        ),
        "",
        "| | rows/s | of the floor | PostgreSQL | client | broker | all CPU | cores busy | memory |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, found in runs.items():
        cost, ratio = costs[name], ratios[name]
        busy = median(run.rows_per_s * sum(run.cpu_s_per_million.values()) / 1e6 for run in found)
        lines.append(
            f"| {name} | {median(run.rows_per_s for run in found):,.0f}"
            f" | {median(ratio):.2f} ({min(ratio):.2f} to {max(ratio):.2f})"
            f" | {cost['PostgreSQL']:.2f} | {cost.get('consumer', cost.get('client', 0)):.2f}"
            f" | {cost.get('broker', 0):.2f} | {sum(cost.values()):.2f} | {busy:.2f}"
            f" | {max(r.memory_mb for r in found):.0f} MB |"
        )
    plots.bars(
        "drain", "Rows stored per second", "rows/s", {n: {"": median(r.rows_per_s for r in f)} for n, f in runs.items()}
    )
    plots.bars("cost", "CPU seconds per million rows", "s", costs)
    lines += ["", "![rows per second](images/drain.svg)", "", "![CPU per million rows](images/cost.svg)"]
    write_section("drain", "\n".join(lines))


def report_send(running: Stack, rounds: int) -> None:
    """Our producer beside Kafka's own tool."""
    rates = send.measure(running, rounds)
    ratios = [ours / peer for ours, peer in zip(rates[send.OURS], rates[send.PEER], strict=True)]
    lines = [
        f"Each on one core, {rounds} rounds in turn.",
        "",
        "| | messages/s, median | lowest | highest |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {median(found):,.0f} | {min(found):,.0f} | {max(found):,.0f} |"
            for name, found in rates.items()
        ),
        "",
        (
            f"Ours is {median(ratios):.2f} of the peer ({min(ratios):.2f} to {max(ratios):.2f}). The generator alone"
            f" draws {send.generate() / 1e6:.1f} million heart rates per second of CPU time."
        ),
    ]
    write_section("send", "\n".join(lines))


def report_latency(running: Stack, seconds: float) -> None:
    """Age of rows and CPU at several rates; and what a heartbeat costs on its whole way."""
    percent_of = ("producer", "broker", "consumer", "PostgreSQL")
    lines = [
        (
            f"{seconds:.0f} s observed at each rate; CPU in percent of one core. Idle, the consumer takes"
            f" {latency.idle(running, seconds):.1f} %."
        ),
        "",
        f"| messages/s | p50 | p99 | worst | {' | '.join(percent_of)} |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    costs: dict[str, Mapping[str, float]] = {}
    for customers in (10, 1000, 50_000):
        found = latency.observe(running, customers, seconds)
        cpu = " | ".join(f"{found.cpu_percent[name]:.1f} %" for name in percent_of)
        lines.append(
            f"| {customers:,} | {found.p50_ms:.0f} ms | {found.p99_ms:.0f} ms | {found.worst_ms:.0f} ms | {cpu} |"
        )
        print(lines[-1], flush=True)
        if customers >= COSTED_FROM:
            costs[f"{customers:,}/s"] = found.cpu_s_per_million
    write_section("latency", "\n".join(lines))
    plots.bars(
        "cost-live", "CPU seconds per million heartbeats", "s", {n: _medians([cost]) for n, cost in costs.items()}
    )
    table = [
        "From the observations above: CPU seconds per million heartbeats, from the customer to the visible row.",
        "",
        f"| heartbeats/s | {' | '.join(percent_of)} | all |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {name} | {' | '.join(f'{cost[part]:.1f}' for part in percent_of)} | {sum(cost.values()):.1f} |"
            for name, cost in costs.items()
        ),
        "",
        "![CPU per million heartbeats](images/cost-live.svg)",
    ]
    write_section("cost", "\n".join(table))


def report_flat(running: Stack, rounds: int, full: int, days: Sequence[int]) -> None:
    """Full tables, many customers, long queues, more consumers."""
    found = flat.measure(running, 1_000_000, rounds, full, days)
    base = next(iter(found.values())).rows_per_s
    lines = [
        f"A million waiting messages unless said, medians of {rounds} rounds in turn.",
        "",
        "| | rows/s | of the first | memory of a consumer |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {run.rows_per_s:,.0f} | {run.rows_per_s / base:.2f} | {run.memory_mb:.0f} MB |"
            for name, run in found.items()
        ),
    ]
    write_section("-".join(map(str, ["flat", full, *days])), "\n".join(lines))


def _medians(costs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    every = list(costs)
    return {part: median(cost[part] for cost in every) for part in PARTS if part in every[0]}


def main() -> None:
    """Run everything, or what is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    kinds: dict[str, Callable[[Stack], None]] = {
        "drain": lambda running: report_drain(running, given.rounds),
        "send": lambda running: report_send(running, given.rounds),
        "latency": lambda running: report_latency(running, 30),
        "flat": lambda running: report_flat(running, 3, given.full, given.days),
        "stages": lambda running: write_section("stages", stages.table(stages.measure(running, 300_000), 300_000)),
        "variants": lambda running: write_section(
            "variants", variants.table(variants.measure(running, 1_000_000, 3), 1_000_000)
        ),
        "peers": compare.report,
    }
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(kinds)} (default: all but peers)")
    parser.add_argument("--rounds", type=int, default=5, help="of drain and send (default: %(default)s)")
    parser.add_argument(
        "--full", type=int, default=10_000_000, help="rows in flat's full tables (default: %(default)s)"
    )
    parser.add_argument("--days", type=int, nargs="*", default=flat.DAYS, help="they are of (default: %(default)s)")
    given = parser.parse_args()
    if unknown := set(given.kinds) - kinds.keys():
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(kinds)}")
    for kind in given.kinds or [kind for kind in kinds if kind != "peers"]:
        with stack() as running:
            print(f"-- {kind}", flush=True)
            kinds[kind](running)
    write_section(
        "machine",
        f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}.",
    )


if __name__ == "__main__":
    main()
