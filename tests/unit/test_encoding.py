"""What the producer writes is the event of the contract, to the byte."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from producer.encoding import Encoder

AT = datetime(2026, 11, 22, 9, 0, 0, 123456, tzinfo=UTC)


def test_event_is_written_as_the_contract_shows_it() -> None:
    assert Encoder(3).encode(0, [72], AT) == [
        {
            "key": b"CUST-000001",
            "value": b'{"customer_id": "CUST-000001", "timestamp": "2026-11-22T09:00:00.123456Z", "heart_rate": 72}',
        }
    ]


def test_whole_seconds_keep_their_microseconds() -> None:
    assert b'"2026-11-22T09:00:00.000000Z"' in Encoder(1).encode(0, [72], AT.replace(microsecond=0))[0]["value"]


def test_other_zones_are_turned_to_utc() -> None:
    there = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert Encoder(1).encode(0, [72], there) == Encoder(1).encode(0, [72], AT)


def test_each_customer_gets_its_own_rate() -> None:
    messages = Encoder(5).encode(2, [50, 120, 50], AT)

    assert [message["key"] for message in messages] == [b"CUST-000003", b"CUST-000004", b"CUST-000005"]
    assert [message["value"].rsplit(b" ", 1)[1] for message in messages] == [b"50}", b"120}", b"50}"]


def test_a_million_customers_have_a_million_keys() -> None:
    encoder = Encoder(1_000_000)
    keys = {message["key"] for message in encoder.encode(0, [70] * 1_000_000, AT)}

    assert len(keys) == 1_000_000
    assert b"CUST-1000000" in keys


def test_more_rates_than_customers_are_a_defect() -> None:
    with pytest.raises(ValueError, match="zip"):
        Encoder(1).encode(0, [70, 71], AT)
