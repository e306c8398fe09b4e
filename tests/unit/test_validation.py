"""Any bytes become a heartbeat or a reason, exactly as the contract says."""

import json
import time
from datetime import timedelta
from functools import partial
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.event import MAX_EVENT_BYTES, MAX_FUTURE
from contracts.heartbeats import HEARTBEATS
from store.reasons import Reason
from store.timestamps import EPOCH
from store.validation import Decode
from tests.corpus import fields, timestamps
from tests.corpus.case import (
    CUSTOMER_ID_MAX_CHARACTERS,
    HEART_RATE_MAX_BPM,
    HEART_RATE_MIN_BPM,
    USUAL_MS,
    Case,
    Row,
    event,
    read_back,
    row,
)
from tests.corpus.documents import LONE
from tests.corpus.hostile import CASES
from tests.corpus.strategies import FIRST, INSTANTS, VALUES, values_of, written

BOUNDED: Final = settings(max_examples=200, deadline=None)
COSTLY: Final = settings(max_examples=80, deadline=None)  # drawing takes longer than validating
# People's queries and habits depend on these words.
OF_FIELDS: Final = {
    *("customer_id_missing", "customer_id_not_a_string", "customer_id_length", "customer_id_characters"),
    *("timestamp_missing", "timestamp_not_a_string", "timestamp_not_rfc3339", "timestamp_year", "timestamp_future"),
    *("heart_rate_missing", "heart_rate_not_an_integer", "heart_rate_range"),
}
NOT_OF_THE_CORPUS: Final = {
    *(Reason.REFUSED, Reason.UNREADABLE_BATCH, Reason.EVENT_TOO_LARGE),
    Reason.UNKNOWN_FIELD,  # heartbeats ignore such fields
}
PATIENCE_S: Final = 1.0  # of CPU for one payload, arbitrary: several times the slowest that Kafka lets through
RATES: Final = st.integers(HEART_RATE_MIN_BPM, HEART_RATE_MAX_BPM)
# What may stand in a field, as JSON text: the corpus's good and bad ones.
CUSTOMER_TEXTS: Final = [
    *(f'"{text}"' for text in fields.GOOD_CUSTOMERS),
    *(t for t, _ in fields.BAD_CUSTOMERS.values()),
]
TIME_TEXTS: Final = [
    *(f'"{text}"' for text in (*timestamps.GOOD, *timestamps.NO_SUCH_YEAR, *timestamps.NOT_RFC3339) if len(text) < 100),
    *timestamps.NOT_A_STRING,
]
RATE_TEXTS: Final = [*fields.GOOD_RATES, *fields.BAD_RATES]


@pytest.fixture(scope="module")
def decode() -> Decode:
    """Return a validator with the default settings."""
    return Decode(HEARTBEATS, MAX_FUTURE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_payload_gets_the_result_of_the_spec(decode: Decode, case: Case) -> None:
    """Every engine means the same by a valid heartbeat, and none can be held up by one message."""
    began = time.thread_time()
    decoded = decode(case.payload, case.appended_ms)
    took_s = time.thread_time() - began

    assert read_back(decoded) == case.expected
    assert took_s < PATIENCE_S


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (event(customer_id='"\\u0000"', timestamp='"today"', heart_rate="0"), "customer_id_characters"),
        (event(timestamp='"today"', heart_rate="0"), "timestamp_not_rfc3339"),
        (event(timestamp='"2024-02-30T00:00:00Z"', heart_rate="true"), "timestamp_not_rfc3339"),
        (event(timestamp='"9999-12-31T23:59:59Z"', heart_rate="0"), "heart_rate_range"),
    ],
)
def test_of_several_faults_the_first_field_names_the_reason(decode: Decode, payload: bytes, reason: Reason) -> None:
    """People group the quarantine by reason; how far a timestamp is ahead is asked last."""
    assert decode(payload, USUAL_MS) == reason


def test_corpus_names_each_case_once_and_has_every_reason() -> None:
    """A reason that no case causes is untested."""
    names = [case.name for case in CASES]
    reasons = {case.expected for case in CASES if isinstance(case.expected, str)}

    assert len(names) == len(set(names))
    assert reasons == set(Reason) - NOT_OF_THE_CORPUS | OF_FIELDS


def test_payload_is_no_event_beyond_the_limit_however_good_it_is(decode: Decode) -> None:
    """Reading it would copy it several times; white space makes an event as large as anybody likes."""
    good = event()
    largest = good + b" " * (MAX_EVENT_BYTES - len(good))

    assert isinstance(decode(largest, USUAL_MS), tuple)
    assert decode.all([good, largest], [USUAL_MS, USUAL_MS]) is not None
    assert decode(largest + b" ", USUAL_MS) == Reason.EVENT_TOO_LARGE
    assert decode.all([good, largest + b" "], [USUAL_MS, USUAL_MS]) is None


@BOUNDED
@given(st.none() | st.binary(max_size=300), st.integers(-(2**63), 2**63 - 1))
@example(b"\xff", 0)
def test_any_bytes_give_a_heartbeat_or_a_reason_and_the_same_one_again(payload: bytes | None, appended_ms: int) -> None:
    """An exception would stop the partition; another result at a second read would unbalance the ledger."""
    decode = Decode(HEARTBEATS, MAX_FUTURE)

    first = decode(payload, appended_ms)

    assert first == decode(payload, appended_ms) == Decode(HEARTBEATS, MAX_FUTURE)(payload, appended_ms)
    assert isinstance(first, (tuple, str))


@COSTLY
@given(VALUES)
def test_any_json_is_refused_for_what_it_is(value: object) -> None:
    """JSON that is no event never fails for a lack of syntax, whatever it holds."""
    decoded = Decode(HEARTBEATS, MAX_FUTURE)(json.dumps(value).encode(), USUAL_MS)

    assert decoded not in [Reason.NOT_UTF8, Reason.NOT_JSON, Reason.NESTED_TOO_DEEP]
    assert (decoded == Reason.NOT_AN_OBJECT) == (not isinstance(value, dict))


@COSTLY
@given(st.data(), values_of(HEARTBEATS))
def test_valid_event_is_taken_exactly_however_it_is_written(data: st.DataObject, expected: Row) -> None:
    """What a sender means arrives: no character, microsecond or beat is changed on the way."""
    payload = data.draw(written(HEARTBEATS, expected))

    decoded = Decode(HEARTBEATS, MAX_FUTURE)(payload, USUAL_MS)

    assert read_back(decoded) == expected


@COSTLY
@given(values_of(HEARTBEATS).flatmap(partial(written, HEARTBEATS)), st.data())
def test_damaged_event_gives_a_heartbeat_within_the_limits_or_a_reason(payload: bytes, data: st.DataObject) -> None:
    """Whatever bit rots, nothing gets past that the table would refuse."""
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(damaged)))
        end = data.draw(st.integers(begin, min(begin + 8, len(damaged))))
        damaged[begin:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b'"', b"\\", b"{", b"}", b",", b"9" * 30])
        )

    decoded = Decode(HEARTBEATS, MAX_FUTURE)(bytes(damaged), USUAL_MS)

    if not isinstance(found := read_back(decoded), str):
        customer_id, instant, heart_rate = found
        assert 1 <= len(customer_id) <= CUSTOMER_ID_MAX_CHARACTERS
        assert "\0" not in customer_id
        assert customer_id.encode()
        assert type(heart_rate) is int
        assert HEART_RATE_MIN_BPM <= heart_rate <= HEART_RATE_MAX_BPM
        assert FIRST <= instant <= timestamps.LATEST


@BOUNDED
@given(st.sampled_from(CUSTOMER_TEXTS), st.sampled_from(TIME_TEXTS), st.sampled_from(RATE_TEXTS))
def test_quick_way_and_exact_way_agree(customer: str, timestamp: str, heart_rate: str) -> None:
    """An ignored field with a lone surrogate needs the exact parser; the result must not change by that."""
    decode = Decode(HEARTBEATS, MAX_FUTURE)
    quick = event(customer, timestamp, heart_rate)
    exact = event(customer, timestamp, heart_rate, LONE)

    assert read_back(decode(quick, USUAL_MS)) == read_back(decode(exact, USUAL_MS))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_payload_among_others_gets_the_result_it_gets_alone(decode: Decode, case: Case) -> None:
    """Many at once are validated faster, with the same result: if one is unusual, each is validated alone."""
    cases = [Case("plain", event(), row()), case, Case("plain", event(heart_rate="99"), row(heart_rate=99))]

    columns = decode.all([one.payload for one in cases], [one.appended_ms for one in cases])
    alone = [decode(one.payload, one.appended_ms) for one in cases]

    if isinstance(case.expected, str):
        assert columns is None
    assert columns is None or columns == decode.columns_of([found for found in alone if not isinstance(found, str)])


@BOUNDED
@given(st.lists(st.tuples(st.from_regex(r"[!#-\[\]-~]{1,64}", fullmatch=True), INSTANTS, RATES), min_size=1))
def test_plainly_written_events_are_validated_at_once(expected: list[Row]) -> None:
    """All that our producer sends takes the quick way; if it did not, nothing but the speed would tell."""
    payloads = [
        event(f'"{name}"', f'"{instant.replace(tzinfo=None).isoformat(timespec="microseconds")}Z"', f"{rate}")
        for name, instant, rate in expected
    ]

    columns = Decode(HEARTBEATS, MAX_FUTURE).all(payloads, [USUAL_MS] * len(payloads))

    assert columns is not None
    found = zip(*columns, strict=True)
    assert [(name, EPOCH + timedelta(microseconds=us), rate) for name, us, rate in found] == expected


@BOUNDED
@given(st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), max_size=8), st.sampled_from([0, 1, 300, 86_400]))
def test_result_depends_on_the_record_alone(records: list[tuple[int, int]], max_future_s: int) -> None:
    """Records validated before, in this process or another one, do not affect a record's result."""
    decode = Decode(HEARTBEATS, timedelta(seconds=max_future_s))
    usual = EPOCH + timedelta(milliseconds=USUAL_MS)

    for appended_ms, ahead_us in records:
        instant = usual + timedelta(milliseconds=appended_ms, seconds=max_future_s, microseconds=ahead_us)
        payload = event(timestamp=f'"{instant.isoformat()}"')
        expected = "timestamp_future" if ahead_us > 0 else row(instant=instant)

        assert read_back(decode(payload, USUAL_MS + appended_ms)) == expected
