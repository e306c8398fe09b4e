"""Another event is a contract, a table and a setting: the same guarantees, without a line in store/ or consumer/."""

from typing import Final

import pytest

from contracts.contract import Contract
from contracts.heartbeats import HEARTBEATS
from examples.orders.contract import ORDERS
from examples.orders.producer import order
from examples.oxygen.contract import OXYGEN
from examples.oxygen.producer import reading
from examples.trades.contract import TRADES
from examples.trades.producer import trade
from local.waiting import wait_until
from tests.conftest import StartService
from tests.corpus.derived import Values, cases_of
from tests.events import FOLDER, prepare, rows
from tests.pipeline import Database, Topic

pytestmark = pytest.mark.integration

SETTING: Final = "examples.oxygen.contract:OXYGEN"
LIMIT_LINES: Final = 60  # of contract and SQL


@pytest.fixture
def oxygen(database: Database) -> Database:
    """A database with the example's table beside the heartbeats."""
    prepare(database, OXYGEN)
    return database


def firsts(contract: Contract, events: list[Values]) -> list[Values]:
    """Return the first of the events that are the same by the contract's unique fields."""
    if not contract.unique:
        return events
    places = [number for number, field in enumerate(contract.columns) if field.name in contract.unique]
    by_unique = {tuple(event[place] for place in places): event for event in reversed(events)}
    return [event for event in events if any(event is first for first in by_unique.values())]


@pytest.mark.parametrize("name", ["oxygen", "orders", "trades"])
def test_contract_and_table_are_short(name: str) -> None:
    """Authors of their own event read these first."""
    files = [FOLDER / name / file for file in ("contract.py", f"{name}.sql")]

    assert sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files) <= LIMIT_LINES


@pytest.mark.parametrize(
    ("contract", "own"),
    [(OXYGEN, reading("person-1")), (ORDERS, order("order-1")), (TRADES, trade("ABC"))],
    ids=["oxygen", "orders", "trades"],
)
def test_hostile_corpus_of_the_contract_ends_in_its_table_and_the_quarantine(
    start: StartService, topic: Topic, database: Database, contract: Contract, own: bytes
) -> None:
    """Another event gets every check that heartbeats get: validation, reasons, ledger."""
    setting = prepare(database, contract)
    topic.create(partitions=1)
    cases = cases_of(contract)
    topic.send([(f"case-{number}".encode(), case.payload) for number, case in enumerate(cases)])
    topic.send([(None, own)])  # its producer's
    consumer = start("consumer", **setting)
    wait_until(lambda: database.passed() == topic.ends(1), within_s=60, what="all messages passed")

    stored = rows(database, contract)
    expected = firsts(contract, [case.expected for case in cases if not isinstance(case.expected, str)])
    assert stored[:-1] == expected
    assert len(stored) == 1 + len(expected)
    assert {key: (reason, payload) for reason, key, payload in database.rejected()} == {
        f"case-{number}".encode(): (case.expected, case.payload)
        for number, case in enumerate(cases)
        if isinstance(case.expected, str)
    }
    assert rows(database, HEARTBEATS) == []

    consumer.stop()
    assert start("consumer", "verify", "--full", **setting).wait() == 0


def test_replay_moves_what_a_wider_contract_accepts_and_nothing_of_another_event(
    start: StartService, topic: Topic, oxygen: Database
) -> None:
    """One quarantine for all events: the heartbeats' replay must not store what only looks like one."""
    ahead = b'{"person": "a", "measured_at": "2999-01-01T00:00:00Z", "percent": 97.5, "site": "ear"}'
    topic.create(partitions=1)
    topic.send([(b"a", ahead), (b"b", b'{"customer_id": "b"}')])
    consumer = start("consumer", HEARTBEAT_EVENT__CONTRACT=SETTING)
    wait_until(lambda: oxygen.passed() == topic.ends(1), within_s=60, what="all messages passed")
    consumer.stop()
    others = start("consumer", "replay", "--dry-run")

    assert others.wait() == 0
    assert "stay in quarantine" not in others.text()

    oxygen.query("UPDATE rejected_heartbeats SET appended_at = '2998-12-31 23:59:00+00'")
    assert start("consumer", "replay", HEARTBEAT_EVENT__CONTRACT=SETTING).wait() == 0
    assert [(person, percent, site, bpm) for person, _, percent, site, bpm in rows(oxygen, OXYGEN)] == [
        ("a", 97.5, "ear", None)
    ]
    assert [reason for reason, _, _ in oxygen.rejected()] == ["person_missing"]
    assert start("consumer", "verify", "--full", HEARTBEAT_EVENT__CONTRACT=SETTING).wait() == 0
    assert start("consumer", "verify", "--full").wait() == 0


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("ALTER TABLE oxygen ALTER percent TYPE real", "column percent is real, not double precision"),
        ("ALTER TABLE oxygen DROP site", "column site is missing"),
        ("ALTER TABLE oxygen ALTER pulse_bpm SET NOT NULL", "column pulse_bpm is NOT NULL"),
        ("ALTER TABLE oxygen ADD more integer NOT NULL", "column more is NOT NULL, but no field fills it"),
    ],
)
def test_table_that_does_not_fit_is_told_in_one_line(
    start: StartService, topic: Topic, oxygen: Database, statement: str, fault: str
) -> None:
    """Found row by row, it would be a table full of refused rows."""
    topic.create(partitions=1)
    oxygen.query(statement)
    consumer = start("consumer", HEARTBEAT_EVENT__CONTRACT=SETTING)

    assert consumer.wait() == 2
    assert fault in consumer.text()
    assert '"hint": "Change the table or the contract' in consumer.text()
    assert "Traceback" not in consumer.text()


def test_table_is_waited_for(start: StartService, topic: Topic, oxygen: Database) -> None:
    """Services start in any order, and the schema may be applied last."""
    oxygen.query("DROP TABLE oxygen")
    topic.create(partitions=1)
    topic.send([(b"person-1", reading("person-1"))])
    consumer = start("consumer", HEARTBEAT_EVENT__CONTRACT=SETTING)
    wait_until(lambda: "there is no table oxygen" in consumer.text(), what="the missing table is named")
    prepare(oxygen, OXYGEN)

    wait_until(lambda: len(rows(oxygen, OXYGEN)) == 1, what="the event stored")


def test_topic_whose_events_are_stored_elsewhere_is_refused(
    start: StartService, topic: Topic, oxygen: Database
) -> None:
    """A wrong setting would quarantine every message of the other event."""
    topic.create(partitions=1)
    topic.send_heartbeats(10)
    heartbeats = start("consumer")
    wait_until(lambda: oxygen.passed() == topic.ends(1), within_s=60, what="all messages passed")
    heartbeats.stop()
    consumer = start("consumer", HEARTBEAT_EVENT__CONTRACT=SETTING)

    assert consumer.wait() == 2
    assert "its events are stored in heartbeats" in consumer.text()
