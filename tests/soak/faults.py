"""What is done to the pipeline: each fault lasts as long as its function runs."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from psycopg.sql import SQL, Identifier

from tests.pipeline import encode, heartbeats
from tests.soak.system import CONSUMERS, System

STALL_S = 8.0  # longer than a member's session on the local broker (6 s), so that its partitions are given away
BOMB_BYTES = 40 * 1024**2  # of one record; 4 KB once it is compressed, and more than the consumer's client unpacks
OLD_DAYS = 6  # within the retention of a week
END_SESSIONS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'heartbeat-consumer'"


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault; of two at once, each touches something else."""

    name: str
    touches: str
    inject: Callable[[System, random.Random], None]


def kill_consumer(system: System, chance: random.Random) -> None:
    number = chance.randrange(CONSUMERS)
    system.consumers[number].end()
    system.replace(number)


def stall_consumer(system: System, chance: random.Random) -> None:
    stalled = system.consumers[chance.randrange(CONSUMERS)]
    stalled.send_signal(signal.SIGSTOP)
    time.sleep(STALL_S)
    stalled.send_signal(signal.SIGCONT)


def restart_consumer(system: System, chance: random.Random) -> None:
    number = chance.randrange(CONSUMERS)
    system.stop(system.consumers[number])
    system.replace(number)


def join_and_leave(system: System, chance: random.Random) -> None:
    guest = system.start("consumer")
    time.sleep(chance.uniform(1, 5))
    system.stop(guest)


def restart_postgresql(mode: Literal["fast", "immediate"]) -> Callable[[System, random.Random], None]:
    def restart(system: System, chance: random.Random) -> None:
        system.postgres.stop(mode)
        time.sleep(chance.uniform(0, 3))
        system.postgres.start()

    return restart


def kill_postgresql(system: System, _chance: random.Random) -> None:
    system.postgres.kill()
    system.postgres.start()


def end_sessions(system: System, _chance: random.Random) -> None:
    system.database.query(END_SESSIONS)


def lock_table(table: str) -> Callable[[System, random.Random], None]:
    def lock(system: System, chance: random.Random) -> None:
        with system.database.connect() as stranger, stranger.transaction():
            stranger.execute(SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(Identifier(table)))
            time.sleep(chance.uniform(2, 5))

    return lock


def kill_broker(system: System, chance: random.Random) -> None:
    system.kafka.kill()
    time.sleep(chance.uniform(0, 3))
    system.kafka.start()


def run_with_a_clock_ahead(system: System, _chance: random.Random) -> None:
    guest = system.start("tests.soak.clock_ahead")
    time.sleep(STALL_S)  # its maintenance begins after five seconds
    system.stop(guest)


def send_unreadable_batch(system: System, _chance: random.Random) -> None:
    options: dict[str, str | int | bool] = {"compression.type": "zstd", "message.max.bytes": 2 * BOMB_BYTES}
    producer = system.topic.producer(**options)
    producer.produce(system.topic.name, b"0" * BOMB_BYTES)
    assert producer.flush(30) == 0
    system.unreadable += 1


def send_old_days(system: System, chance: random.Random) -> None:
    system.old_rows += 20_000
    first = datetime.now(UTC) - timedelta(days=OLD_DAYS)
    rows = [
        (f"OLD-{system.old_rows}", at + timedelta(hours=chance.randrange(24 * OLD_DAYS - 1)), rate)
        for _, at, rate in heartbeats(20_000, seed=chance.randrange(10**6), start=first)
    ]
    system.topic.send((None, encode(row)) for row in rows)


FAULTS = (
    Fault("consumer: kill -9", "consumer", kill_consumer),
    Fault(f"consumer: stopped for {STALL_S:g} s (SIGSTOP)", "consumer", stall_consumer),
    Fault("consumer: orderly restart", "consumer", restart_consumer),
    Fault("consumer: a third joins and leaves", "consumer", join_and_leave),
    Fault("PostgreSQL: fast restart", "postgresql", restart_postgresql("fast")),
    Fault("PostgreSQL: immediate restart", "postgresql", restart_postgresql("immediate")),
    Fault("PostgreSQL: kill -9", "postgresql", kill_postgresql),
    Fault("PostgreSQL: consumers' sessions ended", "postgresql", end_sessions),
    Fault("PostgreSQL: heartbeats locked by a stranger", "postgresql", lock_table("heartbeats")),
    Fault("PostgreSQL: ledger locked by a stranger", "postgresql", lock_table("kafka_ledger")),
    Fault("Kafka: broker kill -9", "kafka", kill_broker),
    Fault("a consumer's clock is 30 days ahead", "consumer", run_with_a_clock_ahead),
    Fault("an unreadable batch", "kafka", send_unreadable_batch),
    Fault(f"20,000 messages of the last {OLD_DAYS} days, mixed", "kafka", send_old_days),
)
