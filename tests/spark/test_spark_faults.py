"""Spark is killed, takes turns with the consumer, meets servers that are away: nothing is lost, nothing twice."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from local.service import Service
from local.waiting import wait_until
from tests.conftest import StartService
from tests.log_segment import flip_bit, send_batch
from tests.pipeline import Database, Topic, encode, heartbeats
from tests.spark.conftest import StartSpark

pytestmark = [pytest.mark.integration, pytest.mark.spark, pytest.mark.timeout(400)]

START_S = 120.0  # Java, Spark and the first query, on two busy cores; it takes 10 s on idle ones
RATE_PER_S = 2000


@contextmanager
def feeding(topic: Topic) -> Iterator[list[tuple[object, ...]]]:
    """Send heartbeats all the while; the list holds what the broker has, once the block has ended."""
    sent: list[tuple[object, ...]] = []
    enough = threading.Event()

    def feed() -> None:
        producer = topic.producer(**{"enable.idempotence": True})
        began = time.monotonic()
        for row in heartbeats(RATE_PER_S * 400, customers=1000):
            if enough.is_set():
                break
            producer.produce(topic.name, encode(row), row[0])
            sent.append(row)
            producer.poll(0)
            while len(sent) > (time.monotonic() - began) * RATE_PER_S:
                producer.poll(0.01)
        assert producer.flush(30) == 0

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield sent
    finally:
        enough.set()
        feeder.join()


def part_of(service: Service, words: str) -> psutil.Process:
    """Return the driver's child process whose command has these words."""

    def find() -> psutil.Process | None:
        children = psutil.Process(service.process.pid).children(recursive=True)
        for child in children:
            with suppress(psutil.Error):  # it has ended since
                if words in " ".join(child.cmdline()):
                    return child
        return None

    return wait_until(find, what=words)  # type: ignore[return-value]  # wait_until gives what is not None


def stored_more(database: Database) -> None:
    before = database.count()
    wait_until(lambda: database.count() > before, within_s=START_S, what="storing again")


def test_random_kills_of_driver_java_and_workers_lose_and_repeat_nothing(
    start: StartService, start_spark: StartSpark, topic: Topic, database: Database
) -> None:
    """Whatever part dies at whatever moment: a micro-batch is stored by its slices, each wholly or not at all."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    topic.create()
    with feeding(topic) as sent:
        spark = start_spark()
        stored_more(database)
        for victim in ("driver", "pyspark.daemon", "driver", "SparkSubmit"):
            time.sleep(chance.uniform(0, 2))  # the fault itself: moments that nobody chose
            if victim == "driver":
                spark.process.kill()
            else:
                part_of(spark, victim).send_signal(signal.SIGKILL)
            if victim != "pyspark.daemon":  # without a worker it goes on by itself; without Java it ends, to be started
                assert spark.wait(START_S) in (128 + signal.SIGKILL, 1, 2)  # 2: Java died before it was ready
                spark = start_spark()
            stored_more(database)
    wait_until(lambda: database.passed() == topic.ends(), within_s=30, what="everything read")

    assert database.lost_and_surplus(sent) == ([], [])
    assert spark.stop() == 0
    assert start("consumer", "verify", "--full").wait() == 0


def test_engines_take_turns_in_the_middle_of_a_stream(
    start: StartService, start_spark: StartSpark, topic: Topic, database: Database
) -> None:
    """Consumer, both by mistake, Spark alone, both, consumer: the ledger is the only truth."""
    topic.create()
    with feeding(topic) as sent:
        consumer = start("consumer")
        stored_more(database)
        spark = start_spark()
        wait_until(lambda: next(spark.events("Stored"), None), within_s=START_S, what="Spark works beside the consumer")
        assert consumer.stop() == 0
        stored_more(database)
        consumer = start("consumer")
        wait_until(lambda: next(consumer.events("Stored"), None), what="the consumer stores beside Spark")
        assert spark.stop() == 0
        stored_more(database)
    wait_until(lambda: database.passed() == topic.ends(), within_s=30, what="everything read")

    assert database.lost_and_surplus(sent) == ([], [])
    assert start("consumer", "verify", "--full").wait() == 0
    assert database.query(
        "SELECT split_part(source, ' ', 1), kind FROM pipeline_events WHERE kind IN ('started', 'stopped')"
        " ORDER BY noted_at"
    ) == [
        ("consumer", "started"), ("spark", "started"), ("consumer", "stopped"), ("consumer", "started"),
        ("spark", "stopped"),
    ]  # fmt: skip


def test_outages_and_a_missing_table_are_waited_out_and_refused_rows_cost_only_themselves(
    start: StartService, start_spark: StartSpark, topic: Topic, database: Database
) -> None:
    """One Spark for all of it, since each start takes its time."""
    topic.create()
    database.query("ALTER TABLE kafka_topics RENAME TO hidden")
    spark = start_spark()
    wait_until(lambda: "kafka_topics" in spark.text() and "hint" in spark.text(), what="it says what is missing")
    database.query("ALTER TABLE hidden RENAME TO kafka_topics")
    rows = topic.send_heartbeats(1000)
    wait_until(lambda: database.passed() == topic.ends(), within_s=START_S)
    wait_until(lambda: any(spark.events("recovered")), what="it says that it is over")
    ended = (
        "SELECT ended_at > started_at FROM pipeline_events WHERE kind = 'outage' AND detail LIKE 'spark: cannot read%'"
    )
    wait_until(lambda: database.query(ended) == [(True,)], what="the outage is an event")

    database.query("ALTER TABLE heartbeats RENAME COLUMN heart_rate TO pulse")
    topic.send((row[0].encode(), encode(row)) for row in heartbeats(100, seed=8))
    wait_until(lambda: "heart_rate" in spark.text(), what="it says which column is missing")
    database.query("ALTER TABLE heartbeats RENAME COLUMN pulse TO heart_rate")
    wait_until(lambda: database.passed() == topic.ends(), within_s=START_S)
    assert database.count() == 1100

    database.query("ALTER TABLE heartbeats ADD CHECK (customer_id <> 'CUST-000013') NOT VALID")
    rows = heartbeats(1000, seed=9)
    topic.send((row[0].encode(), encode(row)) for row in rows)
    wait_until(lambda: database.passed() == topic.ends(), within_s=START_S)
    assert database.count() == 1100 + 990
    assert {key for _, key, _ in database.rejected()} == {b"CUST-000013"}

    topic.delete()
    topic.create(partitions=2)
    topic.send_heartbeats(500, seed=10)
    wait_until(lambda: database.count() + len(database.rejected()) == 2600, within_s=START_S, what="the new topic")
    assert database.query("SELECT count(*) FROM kafka_topics") == [(2,)]

    with database.connect() as admin:  # as a restart of the database does
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (database.name,),
        )
    topic.send_heartbeats(500, seed=11)
    wait_until(lambda: database.passed() == topic.ends(2), within_s=START_S)
    assert spark.stop() == 0
    assert "Traceback" not in spark.text()
    assert start("consumer", "verify", "--full").wait() == 0


def test_corrupt_batch_is_named_with_the_way_past_it(
    start: StartService, start_spark: StartSpark, topic: Topic, database: Database
) -> None:
    """Kafka's Java client cannot pass it, and says so in a line of its own deep in a stack trace."""
    topic.create(partitions=1)
    groups = [heartbeats(10, seed=seed) for seed in range(3)]
    for group in groups:
        send_batch(topic, group)
    flip_bit(topic, 10, at=61 + 20)
    spark = start_spark()
    said = f"cannot read topic {topic.name}, partition 0, at offset 10: the batch is corrupt"
    (line,) = wait_until(lambda: [one for one in spark.events() if one.get("error") == said][:1], within_s=2 * START_S)
    spark.stop()
    start("consumer")
    wait_until(lambda: database.passed() == {0: 30})

    assert "python -m consumer" in line["hint"]
    assert database.lost_and_surplus(groups[0] + groups[2]) == ([], [])


def test_table_that_refuses_most_rows_stops_spark(start_spark: StartSpark, topic: Topic, database: Database) -> None:
    """Then the schema is wrong, not the data."""
    database.query("ALTER TABLE heartbeats ADD CHECK (heart_rate < 0) NOT VALID")
    topic.create()
    topic.send_heartbeats(500)
    spark = start_spark()

    assert spark.wait(START_S) == 3
    assert "PostgreSQL refused" in spark.text()
    assert (database.count(), database.rejected()) == (0, [])


def test_mistakes_end_spark_with_a_hint_before_it_starts(start_spark: StartSpark, topic: Topic) -> None:
    """A wrong password is no reason to start Java first."""
    topic.create()
    spark = start_spark(POSTGRESQL_PASSWORD="hunter2")

    assert spark.wait() == 2
    assert [event["hint"] for event in spark.events() if "password authentication failed" in event.get("error", "")]
    assert "hunter2" not in spark.text()


def test_missing_java_is_named(start: StartService, topic: Topic) -> None:
    topic.create()
    spark = start("spark", PYTHONWARNINGS="", JAVA_HOME="/nowhere")

    assert spark.wait() == 2
    assert "JAVA_HOME" in [event["hint"] for event in spark.events() if "hint" in event][-1]
