"""The ten experiments of docs/lab.md, and what those do that need only Kafka and PostgreSQL."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg
from confluent_kafka import KafkaException, Producer, TopicCollection
from confluent_kafka.admin import AdminClient

from common.errors import OutageError, one_line
from common.settings import Credentials, Settings
from local.ports import HOST
from local.waiting import wait_until

Message = bytes | None
TIMEOUT_S: Final = 30.0  # for Kafka and PostgreSQL to do what takes them a second
JUNK: Final[tuple[Message, ...]] = (
    None,
    b"",
    b"beep",
    b'{"timestamp": "2026-11-22T09:00:00Z", "heart_rate": 72}',
    b'{"customer_id": "LAB-JUNK", "timestamp": "yesterday", "heart_rate": 72}',
    b'{"customer_id": "LAB-JUNK", "timestamp": "2026-11-22T09:00:00Z", "heart_rate": 999}',
    b'{"customer_id": "LAB-JUNK", "timestamp": "2026-11-22T09:00:00Z", "heart_rate": "72"}',
    b"\xff\xfe\x00",
)
# By codec, each sent as a batch of its own: deep, 20 MB, and 40 MB, of which the client unpacks 32 MiB at most.
BOMBS: Final = (("none", b"[" * 100_000), ("gzip", b" " * 20_000_000), ("zstd", b"0" * 40_000_000))
FULL_S: Final = 10.0  # how long the disk is full
# The end of the fault is in the trigger, so that the disk is not full for ever if this program is killed.
FILL: Final = """
CREATE OR REPLACE FUNCTION lab_full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF clock_timestamp() < tg_argv[0]::timestamptz THEN
        RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device (make inject WHAT=disk)';
    END IF;
    RETURN NULL;
END
$$;
DROP TRIGGER IF EXISTS lab_full_disk ON heartbeats;
DO $$
BEGIN
    EXECUTE format(
        'CREATE TRIGGER lab_full_disk BEFORE INSERT ON heartbeats EXECUTE FUNCTION lab_full_disk(%L)',
        clock_timestamp() + interval '10 s');
END
$$;
"""
EMPTY: Final = "DROP FUNCTION lab_full_disk CASCADE"
HISTORY: Final = timedelta(minutes=40)  # the usual range needs 30 minutes
USUAL_BPM, RACING_BPM = 70, 180
MINUTES: Final = "SELECT count(*) >= 30 FROM heartbeats_per_minute WHERE customer_id = %s"
IN_ALARM: Final = "SELECT count(*) > 0 FROM alarms WHERE customer_id = %s AND kind = 'high'"
NOTICED_S: Final = 180.0  # after `alarm_outside_s`: the search may be busy with everybody's usual range


@dataclass(frozen=True, slots=True)
class Place:
    """Where the pipeline is that an experiment breaks."""

    bootstrap_servers: str
    postgresql_port: int  # of this machine
    login: Credentials
    settings: Settings

    @property
    def topic(self) -> str:
        """The name of the topic."""
        return self.settings.kafka.topic

    def connect(self) -> psycopg.Connection:
        """Connect to PostgreSQL as the owner of the tables."""
        return psycopg.connect(
            host=HOST,
            port=self.postgresql_port,
            user=self.login.username,
            password=self.login.password.get_secret_value(),
            dbname=self.login.database,
            autocommit=True,
        )


@dataclass(frozen=True, slots=True)
class Experiment:
    """One experiment: what it does, and what to look at then, each in one line."""

    does: str
    look: str
    run: Callable[[Place], None] | None = None  # None: the demo or compose does it


def send(place: Place, messages: Iterable[Message], key: bytes = b"LAB", codec: str = "none") -> None:
    """
    Send messages, and wait until Kafka has them.

    Raises:
        OutageError: Kafka does not have them within `TIMEOUT_S` seconds.
    """
    # The client's limits are those of a batch before it is compressed.
    options = {"bootstrap.servers": place.bootstrap_servers, "compression.type": codec, "log_level": 0}
    limits = {"message.max.bytes": 100_000_000, "batch.size": 100_000_000 if codec != "none" else 200_000}
    producer = Producer({**options, **limits})
    failures: list[object] = []
    for message in messages:
        producer.produce(
            place.topic, message, key, on_delivery=lambda error, _: failures.append(error) if error else None
        )
    failures += ["no answer"] * producer.flush(TIMEOUT_S)
    if failures:
        raise OutageError(
            f"cannot send {len(failures)} messages to Kafka: {failures[0]}", hint="Try again when the demo sends again."
        )


def heartbeat(customer: str, at: datetime, bpm: int) -> bytes:
    """Return a heartbeat as the event's JSON."""
    return json.dumps({"customer_id": customer, "timestamp": at.isoformat(), "heart_rate": bpm}).encode()


def send_bombs(place: Place) -> None:
    """Send three messages that are small in Kafka and large, or deep, once they are read."""
    for codec, bomb in BOMBS:
        send(place, [bomb], codec=codec)


def make_topic_again(place: Place) -> None:
    """Delete the topic, and wait until a service has created it again."""
    admin = AdminClient({"bootstrap.servers": place.bootstrap_servers, "log_level": 0})

    def look() -> object:
        try:
            found = admin.describe_topics(TopicCollection([place.topic]), request_timeout=TIMEOUT_S)
            return str(found[place.topic].result().topic_id)
        except KafkaException:
            return None

    before = look()
    try:
        admin.delete_topics([place.topic], request_timeout=TIMEOUT_S)[place.topic].result()
    except KafkaException as error:
        raise OutageError(
            f"cannot delete the topic: {one_line(error)}", hint="Try again when the demo sends again."
        ) from error
    wait_until(lambda: look() not in {before, None}, TIMEOUT_S, "the topic exists again")


def fill_disk(place: Place) -> None:
    """Let PostgreSQL answer as if its disk were full. No disk is filled."""
    with place.connect() as connection:
        connection.execute(FILL)
        try:
            time.sleep(FULL_S)
        finally:
            connection.execute(EMPTY)


def move_clock(place: Place) -> None:
    """Send heartbeats of senders whose clocks are an hour ahead, and a day behind."""
    now = datetime.now(UTC)
    for apart in (timedelta(hours=1), timedelta(days=-1)):
        send(place, (heartbeat("LAB-CLOCK", now + apart + timedelta(seconds=n), 72) for n in range(50)))


def race_heart(place: Place) -> None:
    """Send a new person's calm 40 minutes, then a racing heart, once a second, until there is an alarm."""
    now = datetime.now(UTC)
    customer = f"LAB-{now:%H%M%S}"  # another one each time
    calm = [heartbeat(customer, now - HISTORY + timedelta(seconds=n), USUAL_BPM + n % 3) for n in range(0, 2400, 20)]
    send(place, calm, customer.encode())
    with place.connect() as connection:

        def is_true(statement: str) -> bool:
            return bool((connection.execute(statement, [customer]).fetchone() or [False])[0])

        wait_until(lambda: is_true(MINUTES), TIMEOUT_S, "the minutes are summed up")
        deadline = time.monotonic() + place.settings.consumer.alarm_outside_s + NOTICED_S
        while not is_true(IN_ALARM):
            if time.monotonic() > deadline:
                raise TimeoutError("the alarm")
            send(place, [heartbeat(customer, datetime.now(UTC), RACING_BPM)], customer.encode())
            time.sleep(1)


def run(experiment: Experiment, place: Place) -> None:
    """
    Do what only needs Kafka and PostgreSQL.

    Raises:
        OutageError: One of them does not answer, or the pipeline does not react.
    """
    try:
        if experiment.run:
            experiment.run(place)
    except psycopg.Error as error:
        raise OutageError(f"cannot use PostgreSQL: {one_line(error)}", hint="Try again when it answers.") from error
    except TimeoutError as error:
        raise OutageError(f"the pipeline did not react: {error}", hint="Its log says why.") from error


EXPERIMENTS: Final[Mapping[str, Experiment]] = {
    "kill": Experiment(
        "kills the consumer (SIGKILL) and starts it again after 3 s",
        "`lag` grows until Kafka has given up the killed consumer (6 s), then falls; `rows` misses nothing",
    ),
    "stall": Experiment(
        "starts a second consumer, and stops the first one for 12 s (SIGSTOP), longer than its session of 6 s",
        "`lag` grows until the second consumer has the partitions; nothing is stored twice when the first one wakes up",
    ),
    "postgresql": Experiment(
        "stops PostgreSQL for 8 s", "`rows` stands still, then catches up; an `outage` in pipeline_events"
    ),
    "junk": Experiment(
        "sends 96 messages that are no heartbeats",
        "`rejected` grows by 96, `rows` as before; the reasons in rejected_heartbeats",
        lambda place: send(place, JUNK * 12),
    ),
    "bomb": Experiment(
        "sends three messages: 100,000 nested arrays, 20 MB packed in 20 KB, and 40 MB packed in 4 KB",
        "`rejected` grows by 3 within half a minute; no partition waits for ever",
        send_bombs,
    ),
    "topic": Experiment(
        "deletes the topic; the services create it again",
        "`rows` continues after some seconds, in a new generation of kafka_ledger",
        make_topic_again,
    ),
    "disk": Experiment(
        "lets PostgreSQL refuse rows for 10 s as if its disk were full (a trigger; no disk is filled)",
        "`lag` grows for 10 s, nothing is rejected, `rows` catches up",
        fill_disk,
    ),
    "clock": Experiment(
        "sends 50 heartbeats with timestamps of an hour ahead, and 50 of yesterday",
        "`rejected` grows by 50 with the reason timestamp_future; the other 50 are stored",
        move_clock,
    ),
    "heart": Experiment(
        "sends a new person's calm 40 minutes, then 180 beats per minute until there is an alarm",
        "`in alarm` shows one more person after a minute or two; alarms has the usual range",
        race_heart,
    ),
    "machine": Experiment(
        "kills Kafka, PostgreSQL, producer and consumer at once (SIGKILL) and starts them again after 3 s",
        "`rows` continues from where it was; `verify` at the end of the demo balances",
    ),
}
