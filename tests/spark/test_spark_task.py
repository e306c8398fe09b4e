"""A task of Spark's in this process: whatever Spark runs again stores nothing again."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pyarrow as pa
import pytest
from pydantic import SecretStr

from common.errors import HeartbeatError, TopicReplacedError
from common.settings import Credentials, Kafka, PostgreSQL, Settings
from common.topic import TopicAdmin
from common.topic_identity import TopicIdentity
from spark.stream import Stream, ends_of
from spark.task import Job, PartitionOutcome, store
from store.errors import StaleOwnerError
from store.postgres import PostgresStore
from tests.memory import MemoryCheck
from tests.pipeline import Database, Row, Topic, encode, heartbeats

pytestmark = [pytest.mark.integration, pytest.mark.spark]

SENT = heartbeats(100)


@pytest.fixture
def job(topic: Topic, database: Database) -> Iterator[Job]:
    """The ledger of a topic with one partition is open, at its beginning."""
    topic.create(partitions=1)
    server = database.server
    settings = Settings().model_copy(
        update={
            "kafka": Kafka(bootstrap_servers=topic.server.bootstrap_servers, topic=topic.name),
            "postgresql": PostgreSQL(host=server.host, port=server.port),
        }
    )
    credentials = Credentials.model_construct(
        username=server.superuser, password=SecretStr(server.password), database=database.name
    )
    state = TopicAdmin(settings.kafka).look()
    assert state is not None
    identity = TopicIdentity(topic.name, str(state.topic_id))
    store = PostgresStore(settings, credentials)
    generation, positions = store.positions(identity, {0: (0, 0)})
    yield Job(settings, credentials, identity, generation, {0: positions[0].next_offset})
    store.close()


def run(job: Job, *ranges: range, sent: Sequence[Row] = SENT) -> PartitionOutcome:
    """Run a task on records of these offsets, an Arrow batch for each range."""
    parts = [
        pa.RecordBatch.from_pydict(
            {
                "partition": pa.array([0] * len(offsets), pa.int32()),
                "offset": pa.array(offsets, pa.int64()),
                "timestamp_type": pa.array([2] * len(offsets), pa.int32()),
                "record_ms": pa.array([1_800_000_000_000] * len(offsets), pa.int64()),
                "key": pa.array([None] * len(offsets), pa.binary()),
                "value": pa.array([encode(sent[offset]) for offset in offsets], pa.binary()),
            }
        )
        for offsets in ranges
    ]
    (row,) = [row for part in store(job)(iter(parts)) for row in part.to_pylist()]
    return PartitionOutcome(**row)


def test_task_that_runs_again_writes_nothing(job: Job, database: Database) -> None:
    """Spark repeats tasks of lost executors, and whole micro-batches."""
    first = run(job, range(50), range(50, 100))
    second = run(job, range(50), range(50, 100))

    assert (first.position, first.stored, first.error) == (100, 100, None)
    assert (second.position, second.stored, second.error) == (100, 0, None)
    assert database.lost_and_surplus(SENT) == ([], [])


def test_task_that_overlaps_the_ledger_writes_what_is_beyond_it(job: Job, database: Database) -> None:
    """The other engine may have stored a part of it, ending in the middle of an Arrow batch."""
    run(job, range(30))
    second = run(job, range(20), range(20, 100))

    assert (second.position, second.stored) == (100, 70)
    assert database.lost_and_surplus(SENT) == ([], [])
    assert database.query("SELECT next_offset, stored, skipped FROM kafka_ledger") == [(100, 100, 0)]


def test_ledger_that_went_back_is_no_hole_in_kafka(job: Job, database: Database) -> None:
    """A database restored from a backup knows less than Spark believes: it has to begin anew, not to skip."""
    run(job, range(60))
    database.query('DELETE FROM heartbeats WHERE (kafka_place(id))."offset" >= 40')
    database.query("UPDATE kafka_ledger SET next_offset = 40, stored = 40")
    ahead = Job(job.settings, job.credentials, job.topic, job.generation, {0: 60})
    outcome = run(ahead, range(60, 100))

    assert outcome.error == "StaleOwnerError"
    assert database.query("SELECT next_offset, stored, skipped FROM kafka_ledger") == [(40, 40, 0)]
    assert database.count() == 40


def test_outcome_counts_rows_that_are_older_than_the_retention(job: Job) -> None:
    """The driver warns of them: a worker's log is not where people look."""
    oldest = datetime(2016, 1, 1, tzinfo=UTC)
    old = [oldest + timedelta(days=1), oldest, *(row[1] for row in SENT[2:])]
    outcome = run(job, range(50), range(50, 100), sent=[("CUST-1", at, 70) for at in old])

    assert (outcome.stored, outcome.old, outcome.oldest_us) == (100, 2, round(oldest.timestamp() * 1_000_000))
    assert run(job, range(100)).old == 0


def pass_tail(job: Job, at: int, end: int, answer: HeartbeatError | None = None) -> int:
    """Have a driver that believes the ledger to stand at `at` pass what Spark has read up to `end`; where it stands."""

    class Over(Stream):
        def ends(self) -> dict[int, int]:
            return {0: end}

    stream = Over(Mock(), replace(job, positions={0: at}), Mock(), Mock())
    store = PostgresStore(job.settings, job.credentials)
    try:
        stream.pass_tails(store, MemoryCheck(lambda: answer))
    finally:
        store.close()
    return stream.positions[0]


@pytest.mark.parametrize(("stored", "ends"), [(2, {}), (3, {0: 70, 1: 5}), (4, {0: 70, 1: 5})])
def test_micro_batch_that_is_over_ends_where_spark_says(stored: int, ends: dict[int, int]) -> None:
    """Spark takes one for over that was refused since the query is to end: only what was stored counts."""
    progress = {"batchId": 3, "sources": [{"endOffset": json.dumps({"topic": {"0": 70, "1": 5}})}]}

    assert ends_of(progress, "topic", stored) == ends
    assert ends_of(None, "topic", stored) == {}


def test_offsets_behind_the_last_record_are_passed_as_skipped(job: Job, database: Database) -> None:
    """The last record stays what it was."""
    run(job, range(60))
    assert pass_tail(job, 60, 60) == 60
    assert pass_tail(job, 60, 70) == 70
    assert pass_tail(job, 70, 70) == 70

    assert database.query("SELECT next_offset, stored, skipped, last_offset FROM kafka_ledger") == [(70, 60, 10, 59)]


def test_offsets_are_not_passed_where_the_ledger_stands_elsewhere(job: Job, database: Database) -> None:
    """Ahead: the other engine was quicker. Behind: a restored backup, whose records must be read again."""
    run(job, range(60))
    assert pass_tail(job, 50, 70) == 60
    with pytest.raises(StaleOwnerError):
        pass_tail(job, 65, 70)

    assert database.query("SELECT next_offset, skipped FROM kafka_ledger") == [(60, 0)]


def test_offsets_of_a_topic_that_was_made_again_are_not_passed(job: Job, database: Database) -> None:
    """They may have been read from the new one."""
    run(job, range(60))

    with pytest.raises(TopicReplacedError):
        pass_tail(job, 60, 70, TopicReplacedError("it is another one", hint="Start anew."))

    assert database.query("SELECT next_offset, skipped FROM kafka_ledger") == [(60, 0)]
