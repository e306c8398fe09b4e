"""`python -m consumer reread` changes nothing where it could lose a row, or where a person has made a mistake."""

from collections.abc import Iterator

import pytest
from confluent_kafka import TopicPartition

from examples.trades.contract import TRADES
from tests import roles as applied
from tests.conftest import StartService
from tests.events import prepare
from tests.pipeline import Database, Row, Topic
from tests.reread import TOTALS, balances, consume, long_ago, run
from tests.roles import Roles

pytestmark = pytest.mark.integration


@pytest.fixture
def stored(start: StartService, topic: Topic, database: Database) -> list[Row]:
    """A hundred readings in six partitions."""
    topic.create()
    rows = topic.send_heartbeats(100)
    consume(start, topic, database)
    return rows


def cut(topic: Topic, offset: int) -> None:
    """Have Kafka drop what is before an offset of partition 0."""
    admin = topic.admin  # kept: answers to a client that is gone never come
    part = TopicPartition(topic.name, 0, offset)
    admin.delete_records([part])[part].result()


def test_range_that_kafka_no_longer_holds_is_refused(start: StartService, topic: Topic, database: Database) -> None:
    """Rows that could not be stored again must not be deleted; the message says what Kafka holds."""
    topic.create(partitions=1)
    topic.send_heartbeats(100)
    consume(start, topic, database)
    cut(topic, 40)
    for place in ("30", long_ago()):
        refused = start("consumer", "reread", "--from", place)

        assert refused.wait() == 2
        (event,) = refused.events()
        assert "Kafka holds only the offsets 40 to 99" in event["error"]
        assert "--partition 0 --from 40" in event["hint"]
    assert database.query(TOTALS) == [(100, 0, 0, 0, 0)]
    run(start, "--from", "40")
    assert database.count() == 100
    assert balances(start)


def test_contract_must_match_the_topic(stored: list[Row], start: StartService, database: Database) -> None:
    """Another event's rows are not this command's business."""
    setting = prepare(database, TRADES)
    refused = start("consumer", "reread", "--from", long_ago(), **setting)

    assert refused.wait() == 2
    assert "nothing of it was stored yet" in next(refused.events())["error"]
    assert database.count() == len(stored)


@pytest.fixture
def roles(database: Database) -> Iterator[Roles]:
    with applied.made_for(database) as made:
        yield made


@pytest.mark.usefixtures("stored")
def test_only_the_owner_may_read_again(start: StartService, roles: Roles, database: Database) -> None:
    """The consumer's role cannot delete rows: a stolen password must not become a way to."""
    refused = start("consumer", "reread", "--from", long_ago(), **roles.as_consumer)

    assert refused.wait() == 2
    (event,) = refused.events()
    assert "must not delete rows" in event["error"]
    assert "POSTGRESQL_USERNAME" in event["hint"]
    assert database.query(TOTALS) == [(100, 0, 0, 0, 0)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "yesterday"), "a time with its zone"),
        (("--from", "2026-11-22T09:00:00"), "a time with its zone"),
        ((), "--from"),
        (("--from", "5"), "--partition"),
        (("--from", "5", "--partition", "9"), "nothing of it was stored yet"),
    ],
)
@pytest.mark.usefixtures("stored")
def test_mistake_is_one_line(arguments: tuple[str, ...], words: str, start: StartService) -> None:
    """An operator's mistake ends with code 2 and changes nothing."""
    refused = start("consumer", "reread", *arguments)

    assert refused.wait() == 2
    assert words in refused.text()
    assert "Traceback" not in refused.text()
