"""What is done to the pipeline: each fault lasts as long as its function runs."""

import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from psycopg.sql import SQL, Identifier

from tests.soak.system import CONSUMERS, System

STALL_S = 8.0  # longer than a member's session on the local broker (6 s), so that its partitions are given away
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
)
