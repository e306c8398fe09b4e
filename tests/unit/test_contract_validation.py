"""Bytes become an event of any contract, or a reason; every kind of field with its hostile values."""

import json
import random
import tracemalloc
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.event import MAX_FUTURE
from contracts.contract import Contract, Unknown
from contracts.fields import Integer, IntegerArray, Json, Text, Timestamp
from contracts.heartbeats import HEARTBEATS
from store.kinds import kind_of
from store.reasons import NotAnEventError
from store.validation import Decode
from tests.corpus.case import USUAL_MS
from tests.corpus.derived import DerivedCase, Values, cases_of, values_of
from tests.corpus.everything import CLOSED, EVERYTHING, KEPT
from tests.corpus.samples import read_json
from tests.corpus.strategies import values_of as valid_values_of
from tests.corpus.strategies import written
from tests.unit.test_validation_fuzz import LONGEST, mutants

CONTRACTS: Final = [HEARTBEATS, EVERYTHING, CLOSED, KEPT]
NAMES: Final = ["heartbeats", "everything", "closed", "kept"]
MUTANTS: Final = 10_000


def result_of(decode: Decode, payload: bytes | None) -> Values | str:
    found = decode(payload, USUAL_MS)
    return found if isinstance(found, str) else values_of(decode.contract, found)


@pytest.mark.parametrize("contract", CONTRACTS, ids=NAMES)
def test_hostile_payload_gets_the_result_of_its_contract(contract: Contract) -> None:
    """A new event's hostile values are tested without a test of its own."""
    decode, cases = Decode(contract, MAX_FUTURE), cases_of(contract)

    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        assert result_of(decode, case.payload) == case.expected, case.name


@pytest.mark.parametrize("contract", CONTRACTS, ids=NAMES)
def test_exact_way_gives_the_same_value_as_the_quick_one(contract: Contract) -> None:
    """The quick parser reads numbers by its own code: one that differed in a bit would be another number."""
    decode = Decode(contract, MAX_FUTURE)
    for case in cases_of(contract):
        if not isinstance(case.expected, str):
            payload = case.payload or b""

            assert decode.read_exactly(payload) == decode(payload, USUAL_MS), case.name


@pytest.mark.parametrize("contract", CONTRACTS, ids=NAMES)
def test_payload_among_others_gets_the_result_it_gets_alone(contract: Contract) -> None:
    """Many at once are validated faster, with the same result."""
    decode, cases = Decode(contract, MAX_FUTURE), cases_of(contract)
    usual = cases[0].payload
    at_once: list[DerivedCase] = []
    for case in cases:
        columns = decode.all([usual, case.payload, usual], [USUAL_MS] * 3)
        if columns is not None:
            at_once.append(case)

            assert tuple(column[1] for column in columns) == decode(case.payload, USUAL_MS), case.name
    assert len(at_once) > len(contract.fields)


@pytest.mark.parametrize("contract", CONTRACTS, ids=NAMES)
def test_mutants_get_one_result_by_every_parser(contract: Contract) -> None:
    """An exception would stop a partition for ever; with a second result, a replay would differ."""
    decode, exactly = Decode(contract, MAX_FUTURE), Exactly(contract, MAX_FUTURE)
    seeds = [case.payload for case in cases_of(contract) if case.payload and len(case.payload) <= LONGEST]
    accepted = 0
    for _, payload in zip(range(MUTANTS), mutants(seeds, seed=7), strict=False):
        result = decode(payload, USUAL_MS)
        columns = decode.all([payload], [USUAL_MS])

        assert result == exactly(payload, USUAL_MS), payload
        if columns is not None:
            assert tuple(column[0] for column in columns) == result, payload
        accepted += not isinstance(result, str)
    assert accepted > MUTANTS // 100


class Exactly(Decode):
    """Validates by the exact parser alone."""

    def _read(self, payload: bytes) -> tuple[object, ...]:
        return self.read_exactly(payload)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), valid_values_of(EVERYTHING))
def test_valid_event_is_taken_exactly_however_it_is_written(data: st.DataObject, expected: Values) -> None:
    """What a sender means arrives, whatever the kind of field."""
    payload = data.draw(written(EVERYTHING, expected))
    is_json = [isinstance(field, Json) for field in EVERYTHING.columns]

    assert result_of(Decode(EVERYTHING, MAX_FUTURE), payload) == tuple(
        read_json(json.dumps(value)) if held and value is not None else value
        for value, held in zip(expected, is_json, strict=True)
    )


@pytest.mark.parametrize("name", ["class", "self", "_", "f0", "__module__", "__dict__", "__slots__", "__init__"])
def test_field_may_have_any_name(name: str) -> None:
    """Python uses some of them: a field called __module__ got the name of our module instead of the event's value."""
    fields = (*HEARTBEATS.fields, Integer(name))
    decode = Decode(replace(HEARTBEATS, fields=fields, unknown=Unknown.REFUSED), MAX_FUTURE)
    start = b'{"customer_id": "a", "timestamp": "2020-01-01T00:00:00Z", "heart_rate": 70'
    good, surplus = start + b', "%s": 5}' % name.encode(), start + b', "%s": 5, "f3": 5}' % name.encode()

    assert decode(good, USUAL_MS) == decode.read_exactly(good)
    assert decode(good, USUAL_MS)[-1] == 5
    assert decode(surplus, USUAL_MS) == "unknown_field"


def test_of_several_faults_the_first_field_names_the_reason_and_unknown_fields_come_last() -> None:
    """People group the quarantine by reason."""
    decode = Decode(CLOSED, MAX_FUTURE)

    with pytest.raises(NotAnEventError, match="name_missing"):
        decode.read_exactly(b'{"x": 1}')
    assert decode(b'{"name": "a", "code": "b", "x": 1}', USUAL_MS) == "code_pattern"


def test_a_second_time_stamp_may_be_ahead_and_the_time_may_not() -> None:
    """Only the event's own time decides about days and dashboards."""
    contract = Contract(
        title="A", description="A", table="a", key="k", time="at", fields=(Text("k"), Timestamp("at"), Timestamp("due"))
    )
    decode = Decode(contract, MAX_FUTURE)
    later, sooner = '"2999-01-01T00:00:00Z"', '"2024-01-01T00:00:00Z"'

    assert not isinstance(decode(f'{{"k": "x", "at": {sooner}, "due": {later}}}'.encode(), USUAL_MS), str)
    assert decode(f'{{"k": "x", "at": {later}, "due": {sooner}}}'.encode(), USUAL_MS) == "at_future"


def test_order_of_fields_changes_nothing_but_the_reason() -> None:
    """Columns are found by name."""
    backwards = replace(EVERYTHING, fields=EVERYTHING.fields[::-1])
    decode = Decode(backwards, MAX_FUTURE)
    cases = random.Random(3).sample([case for case in cases_of(EVERYTHING) if not isinstance(case.expected, str)], 50)

    for case in cases:
        assert result_of(decode, case.payload) == case.expected[::-1], case.name


def test_events_that_were_validated_and_written_take_no_memory() -> None:
    """Each has another long key and another long array: keeping a thousand of them would end the process."""
    arrays = IntegerArray("numbers", max_elements=100_000)
    contract = replace(HEARTBEATS, fields=(*HEARTBEATS.fields, arrays), keep_unknown_in="others")
    decode, write = Decode(contract, MAX_FUTURE), kind_of(arrays).binary_all
    start = b'{"customer_id": "a", "timestamp": "2020-01-01T00:00:00Z", "heart_rate": 70, "numbers": [%s], "%d%s": 1}'
    tracemalloc.start()
    try:
        for number in range(20):
            payload = start % (b",".join([b"1"] * (20_000 + number)), number, b"k" * 1_000_000)
            found = decode(payload, USUAL_MS)
            assert not isinstance(found, str)
            write([found[3]])
        del payload, found
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 1_000_000
