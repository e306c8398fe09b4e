"""
How old a heartbeat is when its row can be seen, and what the services cost at that rate.

The producer runs on its schedule. Every few milliseconds we ask for the rows that were not there before; their age at
that moment is the latency, so it includes half of that pause on average.
"""

import argparse
import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.cost import cpu_s
from benchmarks.stack import PARTITIONS, Stack, stack
from local.waiting import wait_until
from store.row_id import LAST_OFFSET, pack, unpack

LOOK_EVERY_S: Final = 0.01
WARM_UP_S: Final = 5.0
# One short range of the primary key for each partition.
NEW_ROWS: Final = """
SELECT id, extract(epoch FROM clock_timestamp() - "timestamp")::float8
FROM unnest(%s::bigint[], %s::bigint[]) AS place (seen, last),
     LATERAL (SELECT id, "timestamp" FROM heartbeats WHERE id > seen AND id <= last) AS fresh
"""


@dataclass
class Latency:
    """Percentiles in ms over so many rows; of each process, CPU in percent of a core and in seconds a million rows."""

    rows: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    cpu_percent: dict[str, float]
    cpu_s_per_million: dict[str, float]


def observe(running: Stack, customers: int, seconds: float, interval_s: float = 1.0) -> Latency:
    """Run the pipeline for a while and look at its rows."""
    topic = f"latency-{customers}-{interval_s:g}"
    running.empty()
    running.make_topic(topic, [])
    ages: list[float] = []
    with (
        running.start("consumer", topic) as consumer,
        running.start(
            "producer",
            topic,
            HEARTBEAT_PRODUCER__CUSTOMERS=str(customers),
            HEARTBEAT_PRODUCER__INTERVAL_S=str(interval_s),
        ) as producer,
    ):
        wait_until(lambda: running.passed() > 0, 120)
        time.sleep(WARM_UP_S)
        seen = np.array([pack(1, partition, 0) for partition in range(PARTITIONS)])
        last = seen + LAST_OFFSET
        for partition in range(PARTITIONS):
            row = running.connection.execute(
                "SELECT max(id) FROM heartbeats WHERE id BETWEEN %s AND %s",
                (int(seen[partition]), int(last[partition])),
            ).fetchone()
            if row and row[0]:
                seen[partition] = row[0]

        def costs() -> dict[str, float]:
            services = {service.name: cpu_s(service.process.pid) for service in (producer, consumer)}
            used = {**services, **running.cpu_s()}
            used["PostgreSQL"] -= cpu_s(running.connection.info.backend_pid)  # our own looking
            return used

        before, started = costs(), time.perf_counter()
        while time.perf_counter() - started < seconds:
            for row_id, age in running.connection.execute(NEW_ROWS, (seen.tolist(), last.tolist())):
                ages.append(age * 1e3)
                _, partition, _ = unpack(row_id)
                seen[partition] = max(seen[partition], row_id)
            time.sleep(LOOK_EVERY_S)
        took = time.perf_counter() - started
        consumer.check()
        producer.check()
        cpu = {name: used - before[name] for name, used in costs().items()}
    p50, p99, worst = np.percentile(ages, [50, 99, 100]) if ages else (0.0, 0.0, 0.0)
    percent = {name: 100 * used / took for name, used in cpu.items()}
    per_million = {name: used / max(len(ages), 1) * 1e6 for name, used in cpu.items()}
    return Latency(len(ages), float(p50), float(p99), float(worst), percent, per_million)


def idle(running: Stack, seconds: float) -> float:
    """Return what the consumer costs, in percent of a core, when nothing arrives."""
    running.empty()
    running.make_topic("idle", [])
    with running.start("consumer", "idle") as consumer:
        time.sleep(WARM_UP_S)
        before = cpu_s(consumer.process.pid)
        time.sleep(seconds)
        consumer.check()
        return 100 * (cpu_s(consumer.process.pid) - before) / seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--customers", type=int, nargs="*", default=[10, 1000, 50_000], help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30, help="observed at each rate (default: %(default)s)")
    given = parser.parse_args()
    with stack() as running:
        print(f"idle: consumer {idle(running, given.seconds):.1f} % of a core")
        for customers in given.customers:
            found = observe(running, customers, given.seconds)
            cpu = ", ".join(f"{name} {percent:.1f} %" for name, percent in found.cpu_percent.items())
            print(
                f"{customers:6}/s: p50 {found.p50_ms:.0f} ms, p99 {found.p99_ms:.0f} ms, worst {found.worst_ms:.0f} ms"
                f" over {found.rows:,} rows; of a core: {cpu}",
                flush=True,
            )


if __name__ == "__main__":
    main()
