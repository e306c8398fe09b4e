"""The hostile corpus among a hundred thousand good events: each ends in the right table, byte for byte."""

import pytest

from local.waiting import wait_until
from tests.conftest import StartService
from tests.corpus.hostile import CASES
from tests.pipeline import Database, Topic, encode, heartbeats

pytestmark = pytest.mark.integration

GOOD = 100_000


def test_each_hostile_message_ends_in_the_right_table_and_harms_no_other(
    start: StartService, topic: Topic, database: Database
) -> None:
    """No peer keeps both the bad message and its good neighbours."""
    topic.create()
    cases = [case for case in CASES if case.holds_on_any_broker]
    good = heartbeats(GOOD, customers=1000)
    messages: list[tuple[bytes | None, bytes | None]] = [(row[0].encode(), encode(row)) for row in good]
    halves = [b'{"customer_id": "CUST-000001", "timestamp": "2024-11-22T09:00:00Z"', b', "heart_rate": 70}']
    for number, case in enumerate(cases):  # spread evenly, so that each has good neighbours
        messages.insert((number + 1) * GOOD // (len(cases) + 1), (f"case-{number}".encode(), case.payload))
    topic.send(messages)
    topic.send([(b"half", half) for half in halves], partition=0)
    start("consumer")
    wait_until(lambda: database.passed() == topic.ends(), within_s=60)

    valid = [case.expected for case in cases if not isinstance(case.expected, str)]
    assert database.lost_and_surplus(good + valid) == ([], [])
    rejected = {key: (reason, payload) for reason, key, payload in database.rejected() if key != b"half"}
    assert rejected == {
        f"case-{number}".encode(): (case.expected, case.payload)
        for number, case in enumerate(cases)
        if isinstance(case.expected, str)
    }
    assert [(reason, payload) for reason, key, payload in database.rejected() if key == b"half"] == [
        ("not_json", half) for half in halves
    ]
    assert start("consumer", "verify", "--full").wait() == 0
