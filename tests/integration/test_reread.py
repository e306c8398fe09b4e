"""`python -m consumer reread`: a range of Kafka's records is stored again, by the current rules."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from contracts.contract import Contract
from examples.orders.contract import ORDERS
from examples.trades.contract import TRADES
from local.waiting import wait_until
from tests.conftest import StartService
from tests.events import events_of, prepare, rows_by_time
from tests.pipeline import Database, Row, Topic, encode, heartbeats
from tests.reread import SMALL, TOTALS, balances, consume, long_ago, run

pytestmark = pytest.mark.integration

FAR_AHEAD = {"HEARTBEAT_CONSUMER__MAX_FUTURE_S": "864000"}


@pytest.fixture
def sent(start: StartService, topic: Topic, database: Database) -> list[Row]:
    """300 readings that are stored, 100 whose clock runs two days ahead, and 10 broken messages, in six partitions."""
    topic.create()
    rows = heartbeats(300)
    ahead = heartbeats(100, start=datetime.now(UTC) + timedelta(days=2))
    topic.send((row[0].encode(), encode(row)) for row in [*rows, *ahead])
    topic.send([(b"k", b"broken")] * 10)
    consume(start, topic, database)
    assert database.count() == len(rows)
    return [*rows, *ahead]


def test_wider_rule_stores_what_was_rejected(sent: list[Row], start: StartService, database: Database) -> None:
    """Old offsets keep their ids, nothing is there twice, and the ledger says what was read again."""
    printed = run(start, "--from", long_ago(), **FAR_AHEAD).text()

    assert "410 offsets were read again: 400 stored, 10 rejected, 0 skipped, 0 duplicates, 0 erased" in printed
    assert "before: 300 rows, 110 quarantined" in printed
    assert database.lost_and_surplus(sent) == ([], [])
    assert {reason for reason, *_ in database.rejected()} == {"not_json"}
    assert database.query(TOTALS) == [(700, 120, 410, 300, 110)]
    assert balances(start)


def test_narrower_rule_quarantines_what_was_stored(sent: list[Row], start: StartService, database: Database) -> None:
    """A row that the rules no longer accept must not stay among the others; it is kept as a message."""
    run(start, "--from", long_ago(), **FAR_AHEAD)
    run(start, "--from", long_ago())

    assert database.count() == 300
    assert len(database.rejected()) == 110
    assert len(sent) == 400
    assert balances(start)


@pytest.mark.usefixtures("sent")
def test_dry_run_says_the_same_and_changes_nothing(start: StartService, database: Database) -> None:
    """A person looks before half of the table is replaced."""
    everything = (
        "SELECT xmin::text, id FROM heartbeats UNION ALL SELECT xmin::text, id FROM rejected_heartbeats ORDER BY 2"
    )
    before = database.query(everything), database.query("SELECT * FROM kafka_ledger ORDER BY partition")
    printed = run(start, "--from", long_ago(), "--dry-run", "--json", **FAR_AHEAD).text()
    found = json.loads(printed)

    assert (found["dry_run"], found["stored"], found["rejected"], found["rows_replaced"]) == (True, 400, 10, 300)
    assert sum(one["offsets"] for one in found["partitions"]) == found["offsets"] == 410
    assert (database.query(everything), database.query("SELECT * FROM kafka_ledger ORDER BY partition")) == before


def test_rows_that_were_deleted_by_hand_come_back(sent: list[Row], start: StartService, database: Database) -> None:
    """The repair of a damaged table: afterwards the ledger balances again, which it did not before."""
    database.query("DELETE FROM heartbeats WHERE customer_id < 'CUST-000050'")
    database.query("DELETE FROM rejected_heartbeats WHERE reason = 'not_json'")
    assert not balances(start)
    printed = run(start, "--from", long_ago(), **SMALL).text()

    assert "157 deleted by hand" in printed
    assert database.lost_and_surplus(sent[:300]) == ([], [])
    assert len(database.rejected()) == 110
    assert balances(start)


def test_rows_that_retention_dropped_come_back_and_balance(
    start: StartService, topic: Topic, database: Database
) -> None:
    """They are counted as dropped once, not as missing."""
    topic.create(partitions=1)
    old = heartbeats(200, start=datetime.now(UTC) - timedelta(days=90))
    topic.send((row[0].encode(), encode(row)) for row in [*old, *heartbeats(100)])
    consume(start, topic, database)
    assert database.query("SELECT drop_strays('heartbeats', 30)") == [(200,)]
    run(start, "--from", "50", "--to", "150", **SMALL)

    assert database.count() == 200
    assert database.query(TOTALS) == [(400, 0, 100, 200, 0)]
    assert balances(start)


def test_range_in_the_middle_leaves_all_others_as_they_are(
    start: StartService, topic: Topic, database: Database
) -> None:
    """Offsets and times name the same range, and no row outside of it is touched."""
    topic.create(partitions=1)
    topic.send((row[0].encode(), encode(row)) for row in heartbeats(100))
    consume(start, topic, database)
    middle = datetime.now(UTC).isoformat()
    topic.send((row[0].encode(), encode(row)) for row in heartbeats(100, seed=8))
    wait_until(lambda: datetime.now(UTC).isoformat() > middle)
    consume(start, topic, database)
    touched = 'SELECT min("offset"), max("offset"), count(*) FROM (SELECT (kafka_place(id))."offset" FROM heartbeats'
    rewritten = f"{touched} WHERE xmin::text::bigint > %s) AS rewritten"
    newest = "SELECT max(xmin::text::bigint) FROM heartbeats"

    [(before,)] = database.query(newest)
    run(start, "--partition", "0", "--from", "30", "--to", "70", **SMALL)
    by_offset = database.query(rewritten, before)
    [(before,)] = database.query(newest)
    run(start, "--from", middle)
    by_time = database.query(rewritten, before)

    assert by_offset == [(30, 69, 40)]
    assert by_time == [(100, 199, 100)]
    assert balances(start)


def test_offsets_without_a_record_are_skipped_again(start: StartService, topic: Topic, database: Database) -> None:
    """A transaction's markers and aborted records hold no event; a second read confirms that."""
    topic.create(partitions=1)
    producer = topic.producer(**{"transactional.id": topic.name})
    producer.init_transactions(30)
    for number in range(6):
        producer.begin_transaction()
        for row in heartbeats(20, seed=number):
            producer.produce(topic.name, encode(row), row[0])
        producer.flush(30)
        (producer.abort_transaction if number % 2 else producer.commit_transaction)(30)
    consume(start, topic, database)
    printed = run(start, "--from", "0", **SMALL).text()

    assert database.count() == 60
    assert "126 offsets were read again: 60 stored, 0 rejected, 66 skipped" in printed
    assert balances(start)


@pytest.mark.usefixtures("sent")
def test_rollups_follow_the_rows(start: StartService, database: Database) -> None:
    """The minutes of rows that left and of rows that came are summed up again."""
    run(start, "--from", long_ago(), **FAR_AHEAD)
    run(start, "--from", long_ago())
    database.query("UPDATE heartbeats_touched SET noted_at = now() - interval '1 h'")
    database.query("SELECT refresh_rollups(100)")

    assert database.query("SELECT sum(readings) FROM heartbeats_per_minute") == [(300,)]
    assert database.query("SELECT sum(readings) FROM heartbeats_fleet WHERE width_s = 60") == [(300,)]


@pytest.mark.parametrize("contract", [ORDERS, TRADES], ids=lambda contract: contract.table)
def test_other_events_are_read_again(contract: Contract, start: StartService, topic: Topic, database: Database) -> None:
    """Their tables have their own columns, keys and partitions; events that a producer sent twice stay duplicates."""
    setting = prepare(database, contract)
    topic.create()
    events = events_of(contract, 300)
    topic.send((f"{number % 100}".encode(), payload) for number, (payload, _) in enumerate([*events, *events[:50]]))
    consume(start, topic, database, **setting)
    stored = rows_by_time(database, contract)
    found = json.loads(run(start, "--from", long_ago(), "--json", **setting, **SMALL).text())

    assert rows_by_time(database, contract) == stored
    assert found["duplicates"] == (50 if contract.unique else 0)
    assert balances(start, **setting)
