"""`python -m consumer replay`: quarantined messages are validated again."""

from datetime import UTC, datetime, timedelta

import pytest

from common.errors import ConfigError
from common.settings import Event
from contracts.contract import Contract
from contracts.fields import Float, Text, Timestamp
from local.waiting import wait_until
from store.replay import replay
from tests.conftest import StartService
from tests.pipeline import Database, Row, Topic, encode, heartbeats
from tests.store import credentials_for, settings_on

pytestmark = pytest.mark.integration

RANKED = Contract(
    title="Item", description="An item", table="items", key="code", time="at",
    fields=(Text("code"), Timestamp("at"), Float("rank")),
)  # fmt: skip
FAR_AHEAD = {"HEARTBEAT_CONSUMER__MAX_FUTURE_S": "864000"}


@pytest.fixture
def quarantined(start: StartService, topic: Topic, database: Database) -> list[Row]:
    """A hundred readings that are valid but for a clock that runs two days ahead, among broken ones."""
    topic.create()
    rows = heartbeats(100, start=datetime.now(UTC) + timedelta(days=2))
    topic.send((row[0].encode(), encode(row)) for row in rows)
    topic.send([(b"k", b"broken")] * 10)
    consumer = start("consumer")
    wait_until(lambda: database.passed() == topic.ends())
    consumer.stop()
    assert database.count() == 0
    return rows


def test_replay_moves_what_todays_rules_accept_and_keeps_the_rest(
    quarantined: list[Row], start: StartService, database: Database
) -> None:
    """A rule that was too strict, or a bug of ours, must not cost a heartbeat for ever."""
    first = start("consumer", "replay", **FAR_AHEAD)
    assert first.wait() == 0
    again = start("consumer", "replay", **FAR_AHEAD)
    assert again.wait() == 0

    assert "100 messages moved" in first.text()
    assert "10 stay in quarantine: not_json" in first.text()
    assert "0 messages moved" in again.text()
    assert database.lost_and_surplus(quarantined) == ([], [])
    assert {reason for reason, _, _ in database.rejected()} == {"not_json"}
    assert database.query("SELECT sum(stored), sum(rejected), sum(replayed) FROM kafka_ledger") == [(100, 10, 100)]
    assert start("consumer", "verify", "--full").wait() == 0


@pytest.mark.usefixtures("quarantined")
def test_dry_run_says_the_same_and_changes_nothing(start: StartService, database: Database) -> None:
    """Looking first is free."""
    dry = start("consumer", "replay", "--dry-run", **FAR_AHEAD)
    assert dry.wait() == 0

    assert "100 messages would move" in dry.text()
    assert database.count() == 0
    assert len(database.rejected()) == 110


@pytest.mark.usefixtures("quarantined")
def test_reason_chooses_what_is_looked_at(start: StartService, database: Database) -> None:
    """One kind of mistake at a time."""
    replay = start("consumer", "replay", "--reason", "not_json", **FAR_AHEAD)
    assert replay.wait() == 0

    assert replay.text() == "0 messages moved to heartbeats\n10 stay in quarantine: not_json\n"
    assert database.count() == 0


def test_cut_payload_is_never_replayed(start: StartService, topic: Topic, database: Database) -> None:
    """What was cut may by accident be valid, and would then be another heartbeat than the one that was sent."""
    topic.create(partitions=1)
    row = heartbeats(1)[0]
    topic.send([(None, encode(row) + b"x")])
    consumer = start("consumer", HEARTBEAT_CONSUMER__MAX_PAYLOAD_BYTES=str(len(encode(row))))
    wait_until(lambda: database.passed() == {0: 1})
    consumer.stop()
    replay = start("consumer", "replay")

    assert replay.wait() == 0
    assert "0 messages moved" in replay.text()
    assert database.count() == 0


@pytest.mark.usefixtures("quarantined")
def test_two_replays_at_once_move_each_message_once(start: StartService, database: Database) -> None:
    """The second replay finds the rows locked or gone."""
    both = [start("consumer", "replay", **FAR_AHEAD) for _ in range(2)]

    assert [replay.wait() for replay in both] == [0, 0]
    assert database.count() == 100
    assert start("consumer", "verify", "--full").wait() == 0


def test_replay_into_a_column_of_another_type_stores_nothing(database: Database) -> None:
    """Both types have eight bytes: PostgreSQL would take the float's bits for a whole number."""
    database.query(
        "CREATE TABLE items (id bigint PRIMARY KEY, code text NOT NULL, at timestamptz NOT NULL, rank bigint NOT NULL)"
    )
    database.query("INSERT INTO kafka_topics VALUES (1, 'its id', 'items', now(), 'items')")
    database.query(
        "INSERT INTO kafka_ledger (generation, partition, start_offset, next_offset, rejected) VALUES (1, 0, 0, 1, 1)"
    )
    database.query(
        """
        INSERT INTO rejected_heartbeats (id, topic, partition, "offset", payload, payload_length, reason, appended_at)
        SELECT kafka_place_id(1, 0, 0), 'items', 0, 0, given, length(given), 'rank_range', now()
        FROM convert_to('{"code": "b", "at": "2020-01-01T00:00:00Z", "rank": 1.5}', 'UTF8') AS given
        """
    )
    settings = settings_on(database).model_copy(update={"event": Event(contract=f"{__name__}:RANKED")})

    with pytest.raises(ConfigError, match="column rank is bigint, not double precision"):
        replay(settings, credentials_for(database), reason=None, dry_run=False, say=lambda _: None)
    assert database.query("SELECT count(*) FROM items") == [(0,)]
