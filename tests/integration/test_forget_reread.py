"""`forget` and `reread` after, beside and across each other: a forgotten person does not come back."""

import threading
from typing import Final

import pytest
from psycopg.sql import Identifier

from contracts.heartbeats import HEARTBEATS
from local.waiting import wait_until
from store import erase
from tests.conftest import StartService
from tests.pipeline import Database, Row, Topic, encode, heartbeats
from tests.reread import SMALL, balances, consume, long_ago, run

pytestmark = pytest.mark.integration

WHO: Final = "CUST-000007"
BAD: Final[list[tuple[bytes | None, bytes]]] = [
    (WHO.encode(), b"broken"),
    (None, f'{{"customer_id": "{WHO}", "heart_rate": 7'.encode()),
    (b"CUST-000008", b"broken"),
]
STATE: Final = "SELECT wait_event_type FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
ERASED: Final = "SELECT sum(erased) FROM kafka_ledger"


@pytest.fixture
def others(start: StartService, topic: Topic, database: Database) -> list[Row]:
    """1000 readings of a hundred people and 3 broken messages in one partition; return those of all but one person."""
    topic.create(partitions=1)
    rows = heartbeats(1000)
    topic.send([*((row[0].encode(), encode(row)) for row in rows), *BAD])
    consume(start, topic, database)
    return [row for row in rows if row[0] != WHO]


def test_reread_brings_nobody_back(others: list[Row], start: StartService, database: Database) -> None:
    """Kafka still holds the records; each reread counts them as erased, and not as rows that somebody deleted."""
    assert start("consumer", "forget", WHO).wait() == 0
    texts = [run(start, "--from", long_ago(), **SMALL).text() for _ in range(2)]

    assert all("990 stored, 1 rejected, 0 skipped, 0 duplicates, 12 erased; before: 990 rows" in text for text in texts)
    assert not any("deleted by hand" in text for text in texts)
    assert database.lost_and_surplus(others) == ([], [])
    assert [payload for _, _, payload in database.rejected()] == [b"broken"]
    assert database.query(ERASED) == [(36,)]
    assert balances(start)


def test_row_that_is_missing_elsewhere_is_not_hidden_by_erased_offsets(
    others: list[Row], start: StartService, database: Database
) -> None:
    """Nothing is there of erased offsets, but that is no fault; the row behind the range still is one."""
    assert start("consumer", "forget", WHO).wait() == 0
    database.query('DELETE FROM heartbeats WHERE (kafka_place(id))."offset" = 990')
    run(start, "--partition", "0", "--from", "0", "--to", "900")
    in_between = balances(start)
    run(start, "--partition", "0", "--from", "900")

    assert not in_between
    assert database.lost_and_surplus(others) == ([], [])
    assert balances(start)


def test_reread_that_began_before_obeys_the_list(others: list[Row], start: StartService, database: Database) -> None:
    """It has looked at the list, which is empty; now she is listed, and then it stores."""
    with database.connect() as stranger, stranger.transaction():
        stranger.execute("LOCK TABLE rejected_turn IN EXCLUSIVE MODE")
        reread = start("consumer", "reread", "--from", long_ago())
        wait_until(lambda: database.query(STATE, "heartbeat-reread"), what="reread waits")
        forget = start("consumer", "forget", WHO)
        wait_until(lambda: database.query("SELECT 1 FROM kafka_ledger WHERE forgotten_version > 0"), what="listed")

    assert [reread.wait(), forget.wait()] == [0, 0]
    assert "12 erased" in reread.text()
    assert database.lost_and_surplus(others) == ([], [])
    assert [payload for _, _, payload in database.rejected()] == [b"broken"]
    assert balances(start)


def test_forget_finds_what_a_reread_stores_meanwhile(
    others: list[Row], start: StartService, database: Database
) -> None:
    """Its transaction has passed the fence, and commits after the list was written."""
    with database.connect() as stranger, stranger.transaction():
        stranger.execute("LOCK TABLE heartbeats_touched IN EXCLUSIVE MODE")
        reread = start("consumer", "reread", "--from", long_ago())
        wait_until(lambda: database.query(STATE, "heartbeat-reread"), what="reread waits")
        forget = start("consumer", "forget", WHO)
        wait_until(lambda: database.query(STATE, "heartbeat-forget"), what="forget waits")

    assert [reread.wait(), forget.wait()] == [0, 0]
    assert database.lost_and_surplus(others) == ([], [])
    assert [payload for _, _, payload in database.rejected()] == [b"broken"]
    assert balances(start)


def test_both_at_once_leave_the_others_once(others: list[Row], start: StartService, database: Database) -> None:
    """In small batches, at whatever moment the list is written."""
    both = [
        start("consumer", "reread", "--from", long_ago(), HEARTBEAT_CONSUMER__MAX_BATCH="20"),
        start("consumer", "forget", WHO),
    ]

    assert [command.wait() for command in both] == [0, 0]
    assert database.lost_and_surplus(others) == ([], [])
    assert balances(start)


@pytest.mark.usefixtures("others")
def test_rows_that_a_reread_deletes_first_do_not_end_the_search(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that one turn of `forget` has found may be gone when it comes to delete; there may be more."""
    monkeypatch.setattr(erase, "MOST", 5)
    people = erase.People(HEARTBEATS, [WHO.encode()], [])
    erased: list[int] = []
    with database.connect() as connection:
        found = connection.execute(people.format(erase.FIND_ROWS), people.given).fetchall()

    def forget() -> None:
        with database.connect() as connection, connection.transaction():
            erased.append(erase.rows(connection, people))

    with database.connect() as other, other.transaction():
        deleted = other.execute(people.format(erase.DELETE_ROWS, part=Identifier(*found[0][:2])),
                                {**people.given, "places": found[0][2]}).fetchall()  # fmt: skip
        thread = threading.Thread(target=forget)
        thread.start()
        wait_until(lambda: database.query("SELECT 1 FROM pg_locks WHERE NOT granted"), what="forget waits")
    thread.join()

    assert [(number, len(found)) for _, number in deleted] == [(5, 1)]
    assert erased == [5]
