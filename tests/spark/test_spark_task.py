"""A task of Spark's in this process: whatever Spark runs again stores nothing again."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from pydantic import SecretStr

from common.settings import Credentials, Kafka, PostgreSQL, Settings
from common.topic import Topic as Administration
from consumer.batch import TopicIdentity
from consumer.postgres_store import PostgresStore
from spark.task import Job, Outcome, store
from tests.pipeline import Database, Row, Topic, encode, heartbeats

pytestmark = [pytest.mark.integration, pytest.mark.spark]

SENT = heartbeats(100)


@pytest.fixture
def job(topic: Topic, database: Database) -> Iterator[Job]:
    """The books of a topic with one partition are open, at its beginning."""
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
    state = Administration(settings.kafka).look()
    assert state is not None
    identity = TopicIdentity(topic.name, str(state.topic_id))
    books = PostgresStore(settings, credentials)
    generation, positions = books.positions(identity, {0: (0, 0)})
    yield Job(settings, credentials, identity, generation, {0: positions[0].next_offset})
    books.close()


def run(job: Job, *ranges: range, sent: Sequence[Row] = SENT) -> Outcome:
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
    return Outcome(**row)


def test_task_that_runs_again_writes_nothing(job: Job, database: Database) -> None:
    """Spark repeats tasks of lost executors, and whole micro-batches."""
    first = run(job, range(50), range(50, 100))
    second = run(job, range(50), range(50, 100))

    assert (first.position, first.stored, first.error) == (100, 100, None)
    assert (second.position, second.stored, second.error) == (100, 0, None)
    assert database.lost_and_surplus(SENT) == ([], [])


def test_task_that_overlaps_the_books_writes_what_is_beyond_them(job: Job, database: Database) -> None:
    """The other engine may have stored a part of it, ending in the middle of an Arrow batch."""
    run(job, range(30))
    second = run(job, range(20), range(20, 100))

    assert (second.position, second.stored) == (100, 70)
    assert database.lost_and_surplus(SENT) == ([], [])
    assert database.query("SELECT next_offset, stored, skipped FROM kafka_ledger") == [(100, 100, 0)]


def test_books_that_went_back_are_no_hole_in_kafka(job: Job, database: Database) -> None:
    """A database restored from a backup knows less than Spark believes: it has to begin anew, not to skip."""
    run(job, range(60))
    database.query("DELETE FROM heartbeats WHERE id & 1099511627775 >= 40")
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
