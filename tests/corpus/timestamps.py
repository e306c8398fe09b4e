"""Timestamps: RFC 3339 exactly, the edges of the calendar, and the future."""

from datetime import UTC, datetime, timedelta
from typing import Final

from store.timestamps import EPOCH
from tests.corpus.case import DIGITS, HUGE, INSTANT, TIME, USUAL_MS, Case, event, row

LATEST: Final = EPOCH + timedelta(milliseconds=USUAL_MS) + timedelta(minutes=5)
LAST_MS: Final = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


def _utc(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=UTC)  # type: ignore[arg-type, misc]  # year to microsecond, as many as are given


GOOD: Final = {
    TIME: INSTANT,
    # Fractions are cut to microseconds, never rounded.
    "2024-11-22T09:00:00Z": _utc(2024, 11, 22, 9),
    "2024-11-22T09:00:00.1Z": _utc(2024, 11, 22, 9, 0, 0, 100_000),
    "2024-11-22T09:00:00.12Z": _utc(2024, 11, 22, 9, 0, 0, 120_000),
    "2024-11-22T09:00:00.123Z": _utc(2024, 11, 22, 9, 0, 0, 123_000),
    "2024-11-22T09:00:00.1234Z": _utc(2024, 11, 22, 9, 0, 0, 123_400),
    "2024-11-22T09:00:00.12345Z": _utc(2024, 11, 22, 9, 0, 0, 123_450),
    "2024-11-22T09:00:00.000001Z": _utc(2024, 11, 22, 9, 0, 0, 1),
    "2024-11-22T09:00:00.9999999Z": _utc(2024, 11, 22, 9, 0, 0, 999_999),
    "2024-11-22T09:00:00.12345678Z": _utc(2024, 11, 22, 9, 0, 0, 123_456),
    "2024-11-22T09:00:00.123456999Z": _utc(2024, 11, 22, 9, 0, 0, 123_456),
    "2024-11-22T09:00:00.0000009999Z": _utc(2024, 11, 22, 9),
    "2024-11-22T09:00:00.99999999999Z": _utc(2024, 11, 22, 9, 0, 0, 999_999),
    "2024-12-31T23:59:59.999999999999Z": _utc(2024, 12, 31, 23, 59, 59, 999_999),
    f"2024-11-22T09:00:00.{'9' * DIGITS}Z": _utc(2024, 11, 22, 9, 0, 0, 999_999),
    f"2024-11-22T09:00:00.{'1' * HUGE}+00:00": _utc(2024, 11, 22, 9, 0, 0, 111_111),
    # Offsets
    "2024-11-22T09:00:00+00:00": _utc(2024, 11, 22, 9),
    "2024-11-22T09:00:00-00:00": _utc(2024, 11, 22, 9),
    "2024-11-22T09:00:00.5+05:30": _utc(2024, 11, 22, 3, 30, 0, 500_000),
    "2024-11-22T09:00:00.1234567-03:00": _utc(2024, 11, 22, 12, 0, 0, 123_456),
    "2024-11-22T09:00:00+23:59": _utc(2024, 11, 21, 9, 1),
    "2024-11-22T09:00:00-23:59": _utc(2024, 11, 23, 8, 59),
    # Days
    "2024-02-29T00:00:00Z": _utc(2024, 2, 29),
    "2000-02-29T00:00:00Z": _utc(2000, 2, 29),
    "2024-03-01T00:30:00+01:00": _utc(2024, 2, 29, 23, 30),
    "1969-12-31T23:59:59.999999Z": _utc(1969, 12, 31, 23, 59, 59, 999_999),
    "1582-10-10T12:00:00Z": _utc(1582, 10, 10, 12),  # fell out of the calendar in Rome, not in ISO 8601
    # The first year of the calendar, also where UTC alone moves a time into it
    "0001-01-01T00:00:00Z": _utc(1, 1, 1),
    "0001-01-01T23:59:00+23:59": _utc(1, 1, 1),
    "0000-12-31T23:30:00-01:00": _utc(1, 1, 1, 0, 30),
    "0000-12-31T00:01:00-23:59": _utc(1, 1, 1),
    "0000-12-31T23:59:59.9999999-00:01": _utc(1, 1, 1, 0, 0, 59, 999_999),
}

NO_SUCH_YEAR: Final = (
    "9999-12-31T23:59:59-23:59",
    "9999-12-31T23:59:59.999999-00:01",
    "9999-12-31T00:01:00-23:59",
    "0001-01-01T00:00:00+00:01",
    "0001-01-01T23:58:59.999999+23:59",
    "0000-12-31T23:30:00Z",
    "0000-12-31T23:59:59.999999+00:00",
    "0000-12-31T22:30:00-01:00",
    "0000-12-31T00:00:00-23:59",
    "0000-12-31T23:59:59+23:59",
    "0000-12-30T23:59:59-23:59",
    "0000-01-01T00:00:00Z",
    "0000-02-29T00:00:00Z",
)

NOT_RFC3339: Final = (
    "", " ", "now", "epoch", "infinity", "-infinity", "today", "null", "1700000000", "1700000000000", "1.7e9",
    "20241122", "2024-11-22", "2024-11-22T09Z", "2024-11-22T09:00Z", "2024-11-22T09:00+00:00", "2024-11-22T09:00:00",
    "2024-11-22T09:00:00.123456", "09:00:00Z", "T09:00:00Z", "2024-11T09:00:00Z", "2024T09:00:00Z",
    "2024-11-22 09:00:00Z", "2024-11-22t09:00:00Z", "2024-11-22T09:00:00z", "2024-11-22_09:00:00Z",
    "2024-11-2209:00:00Z", "2024-11-22T09:00:00+0000", "2024-11-22T09:00:00+00", "2024-11-22T09:00:00+5:30",
    "2024-11-22T09:00:00+24:00", "2024-11-22T09:00:00-24:00", "2024-11-22T09:00:00+23:60",
    "2024-11-22T09:00:00+00:00:00", "2024-11-22T09:00:00 Z", "2024-11-22T09:00:00Z+00:00", "2024-11-22T09:00:00UTC",
    "2024-11-22T09:00:00 UTC", "2024-11-22T09:00:00 +00:00", "2024-11-22T09:00:00\N{MINUS SIGN}01:00",
    "2024-11-22T09:00:00Europe/Berlin", "2024-11-22T09:00:00+01:00[Europe/Berlin]", "2024-11-22T09:00:60Z",
    "2016-12-31T23:59:60Z", "2024-11-22T09:60:00Z", "2024-11-22T24:00:00Z", "2024-11-22T25:00:00Z",
    "2024-02-30T00:00:00Z", "2023-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2100-02-29T00:00:00Z",
    "2024-04-31T00:00:00Z", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-01-00T00:00:00Z",
    "2024-01-32T00:00:00Z", "0000-02-30T00:00:00Z", "0000-13-01T00:00:00Z", "0000-12-32T00:00:00-01:00",
    "0000-00-00T00:00:00Z", "9999-02-29T00:00:00Z", "2024-11-22T09:00:00,5Z", "2024-11-22T09:00:00.Z",
    "2024-11-22T09:00:00.+00:00", "2024-11-22T09:00:00.5.5Z", "2024-11-22T09:00:00.-5Z", "2024-11-22T9:00:00Z",
    "2024-1-2T09:00:00Z", "24-11-22T09:00:00Z", "12024-11-22T09:00:00Z", "+2024-11-22T09:00:00Z",
    "-0001-11-22T09:00:00Z", "2024/11/22T09:00:00Z", "22.11.2024 09:00:00", "2024-327T09:00:00Z",
    "2024-W47-5T09:00:00Z", "2024-W47T09:00:00Z", "20241122T090000Z", "2024-11-22T090000Z",
    "Fri, 22 Nov 2024 09:00:00 GMT", " 2024-11-22T09:00:00Z", "2024-11-22T09:00:00Z ", "2024-11-22T09:00:00Z\\n",
    "\\n2024-11-22T09:00:00Z", "2024-11-22T09:00:00Z\\u0000", "\\ud8002024-11-22T09:00:00Z",
    "2024-11-22T09:00:00.12345\\u0661Z", "2024-11-22T09:00:00.12345\\u00b2Z", "2024-11-22T09:00:00.\\uff1123456Z",
    "2024-11-22T09:00:00.\\u0661\\u0662\\u0663\\u0664\\u0665\\u0666Z", "2024-11-22T09:00:0\\u0660.123456Z",
    "2024-11-22T09:00:00Z\\n2024-11-22T09:00:00Z", "\N{FULLWIDTH DIGIT TWO}024-11-22T09:00:00Z",
    "2024-11-22T09:00:0\N{ARABIC-INDIC DIGIT ZERO}Z", "2024-11-22T09:00:00.\N{DEVANAGARI DIGIT FIVE}Z",
    "2024-11-22T09:00:00.5\N{SUPERSCRIPT TWO}Z", "2" * DIGITS, "2024-11-22T09:00:00 BC", "-infinityZ",
    "0x7e8-11-22T09:00:00Z",
)  # fmt: skip

NOT_A_STRING: Final = ("1700000000", "1700000000000", "1700000000.5", "9" * DIGITS, "true", "null", "{}", f'["{TIME}"]')


def _ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _limit(name: str, moment: datetime, text: str, expected: str | datetime) -> Case:
    result = expected if isinstance(expected, str) else row(instant=expected)
    return Case(f"future: {name}", event(timestamp=f'"{text}"'), result, appended_ms=_ms(moment))


APPENDED: Final = _utc(2024, 11, 22, 8, 55, 0, 1_000)
LIMIT: Final = APPENDED + timedelta(minutes=5)
FUTURE: Final = [
    _limit("at the limit", APPENDED, "2024-11-22T09:00:00.001Z", LIMIT),
    _limit("1 us before it", APPENDED, "2024-11-22T09:00:00.000999Z", LIMIT - timedelta(microseconds=1)),
    _limit("1 us beyond it", APPENDED, "2024-11-22T09:00:00.001001Z", "timestamp_future"),
    _limit("less than 1 us beyond it", APPENDED, "2024-11-22T09:00:00.0010009Z", LIMIT),
    _limit("at the limit, elsewhere", APPENDED, "2024-11-22T14:30:00.001+05:30", LIMIT),
    _limit("beyond it, elsewhere", APPENDED, "2024-11-21T09:01:00.001001-23:59", "timestamp_future"),
    _limit("limit of the epoch", EPOCH, "1970-01-01T00:05:00Z", _utc(1970, 1, 1, 0, 5)),
    _limit("beyond the epoch's limit", EPOCH, "1970-01-01T00:05:00.000001Z", "timestamp_future"),
    Case("future: far", event(timestamp='"9999-12-31T23:59:59.999999Z"'), "timestamp_future"),
    Case("future: far, elsewhere", event(timestamp='"9999-12-31T23:59:59+23:59"'), "timestamp_future"),
    _limit("last moment, limit there", _utc(9999, 12, 31, 23, 54, 59, 999_000), "9999-12-31T23:59:59.999Z",
           _utc(9999, 12, 31, 23, 59, 59, 999_000)),
    _limit("last moment, limit before", _utc(9999, 12, 31, 23, 54, 59, 998_000), "9999-12-31T23:59:59.999Z",
           "timestamp_future"),
    Case("future: limit beyond the calendar", event(timestamp='"9999-12-31T23:59:59.999999Z"'),
         row(instant=_utc(9999, 12, 31, 23, 59, 59, 999_999)), appended_ms=LAST_MS),
    Case("future: broker's time beyond the calendar", event(), row(), appended_ms=2**63 - 1),
]  # fmt: skip

CASES: Final = [
    *(Case(f"time {text:.40}", event(timestamp=f'"{text}"'), row(instant=when)) for text, when in GOOD.items()),
    *(Case(f"time {text}", event(timestamp=f'"{text}"'), "timestamp_year") for text in NO_SUCH_YEAR),
    *(Case(f"time {text!a:.50}", event(timestamp=f'"{text}"'), "timestamp_not_rfc3339") for text in NOT_RFC3339),
    *(Case(f"time unquoted {text:.40}", event(timestamp=text), "timestamp_not_a_string") for text in NOT_A_STRING),
    *FUTURE,
]
