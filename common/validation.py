"""
Bytes become a heartbeat, or the reason why they are not one; the same function for every engine.

Nearly every payload is good, so it takes a short way: one pass of pydantic's parser, then the calendar. Whatever
that refuses is looked at again, slowly and exactly, to give the right reason; and to accept what a parser in a
hurry refuses although the contract does not, such as a lone surrogate in a field that nobody reads.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs this one before Python 3.12

from common.event import (
    CUSTOMER_ID_MAX_CHARACTERS,
    CUSTOMER_ID_PATTERN,
    HEART_RATE_MAX_BPM,
    HEART_RATE_MIN_BPM,
    MAX_NESTING,
    TIMESTAMP_PATTERN,
)

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
UTC_TEXT_MAX: Final = len("2026-11-22T09:00:00.123456Z")  # longer ones carry digits that PostgreSQL would round
LONGEST_INTEGER: Final = 20  # digits worth turning into a number; Python refuses to convert thousands of them


class Heartbeat(TypedDict):
    """A valid event; `timestamp` is UTC text that PostgreSQL reads exactly, `heart_rate` is beats per minute."""

    customer_id: Annotated[
        str, Field(strict=True, min_length=1, max_length=CUSTOMER_ID_MAX_CHARACTERS, pattern=CUSTOMER_ID_PATTERN)
    ]
    timestamp: Annotated[str, Field(strict=True, pattern=TIMESTAMP_PATTERN)]
    heart_rate: Annotated[int, Field(strict=True, ge=HEART_RATE_MIN_BPM, le=HEART_RATE_MAX_BPM)]


class Reason(StrEnum):
    """Why a message is quarantined; stable words, since people group and replay by them."""

    TOMBSTONE = "tombstone"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NESTED_TOO_DEEP = "nested_too_deep"
    NOT_AN_OBJECT = "not_an_object"
    CUSTOMER_ID_MISSING = "customer_id_missing"
    CUSTOMER_ID_NOT_A_STRING = "customer_id_not_a_string"
    CUSTOMER_ID_LENGTH = "customer_id_length"
    CUSTOMER_ID_CHARACTERS = "customer_id_characters"
    TIMESTAMP_MISSING = "timestamp_missing"
    TIMESTAMP_NOT_A_STRING = "timestamp_not_a_string"
    TIMESTAMP_NOT_RFC3339 = "timestamp_not_rfc3339"
    TIMESTAMP_YEAR = "timestamp_year"
    TIMESTAMP_FUTURE = "timestamp_future"
    HEART_RATE_MISSING = "heart_rate_missing"
    HEART_RATE_NOT_AN_INTEGER = "heart_rate_not_an_integer"
    HEART_RATE_RANGE = "heart_rate_range"
    REFUSED = "refused_by_postgresql"  # validation allowed it, the database did not


Decode = Callable[[bytes | None, int], Heartbeat | Reason]

_ADAPTER: Final = TypeAdapter(Heartbeat)
# What pydantic says of a field -> our reason; anything else said of a field is "not of its type".
_FIELD_REASONS: Final = {
    ("customer_id", "missing"): Reason.CUSTOMER_ID_MISSING,
    ("customer_id", "string_too_short"): Reason.CUSTOMER_ID_LENGTH,
    ("customer_id", "string_too_long"): Reason.CUSTOMER_ID_LENGTH,
    ("customer_id", "string_pattern_mismatch"): Reason.CUSTOMER_ID_CHARACTERS,
    ("customer_id", "string_unicode"): Reason.CUSTOMER_ID_CHARACTERS,
    ("customer_id", None): Reason.CUSTOMER_ID_NOT_A_STRING,
    ("timestamp", "missing"): Reason.TIMESTAMP_MISSING,
    ("timestamp", "string_pattern_mismatch"): Reason.TIMESTAMP_NOT_RFC3339,
    ("timestamp", "string_unicode"): Reason.TIMESTAMP_NOT_RFC3339,
    ("timestamp", None): Reason.TIMESTAMP_NOT_A_STRING,
    ("heart_rate", "missing"): Reason.HEART_RATE_MISSING,
    ("heart_rate", "greater_than_equal"): Reason.HEART_RATE_RANGE,
    ("heart_rate", "less_than_equal"): Reason.HEART_RATE_RANGE,
    ("heart_rate", None): Reason.HEART_RATE_NOT_AN_INTEGER,
}
# Also a string without an end: looking for one from each quote on would take quadratic time.
_STRINGS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS: Final = re.compile(r"[^][{}]+")


def decoder(max_future: timedelta) -> Decode:  # noqa: C901 - one closure, since a call costs as much as a check
    """
    Make the function that judges payloads.

    Args:
        max_future: How far a timestamp may be ahead of the time the broker gave the record.
    Returns:
        `decode(payload, appended_ms)`: `payload` as it came (None for a tombstone), `appended_ms` the broker's
        time of the record in milliseconds since 1970. It gives a heartbeat or a reason, raises nothing, and its
        verdict depends on these two alone, so a record that is read again gets the same one.
    """
    parse = _ADAPTER.validator.validate_json
    read_time = datetime.fromisoformat
    latest_ms, latest = 0, EPOCH + max_future  # records of one Kafka batch share their time

    def decode(payload: bytes | None, appended_ms: int) -> Heartbeat | Reason:  # noqa: C901
        nonlocal latest_ms, latest
        if payload is None:
            return Reason.TOMBSTONE
        try:
            heartbeat: Heartbeat | Reason = parse(payload)
        except ValidationError:
            heartbeat = _parse_exactly(payload)
        else:
            # pydantic reads these words as numbers, JSON has none. To look for one letter takes a tenth of the time.
            if (b"N" in payload and b"NaN" in payload) or (b"I" in payload and b"Infinity" in payload):
                heartbeat = _parse_exactly(payload)
        if isinstance(heartbeat, Reason):
            return heartbeat
        text = heartbeat["timestamp"]
        try:
            time = read_time(text)
            if text[-1] != "Z" or len(text) > UTC_TEXT_MAX:
                time = time.astimezone(UTC)
                heartbeat["timestamp"] = time.isoformat()
        except (ValueError, OverflowError):
            found = _read_edge_of_calendar(text)
            if isinstance(found, Reason):
                return found
            time = found
            heartbeat["timestamp"] = time.isoformat()
        if appended_ms != latest_ms:
            latest_ms, latest = appended_ms, _latest(appended_ms, max_future)
        if time > latest:
            return Reason.TIMESTAMP_FUTURE
        return heartbeat

    return decode


def _latest(appended_ms: int, max_future: timedelta) -> datetime:
    try:
        return EPOCH + timedelta(milliseconds=appended_ms) + max_future
    except OverflowError:  # a record's time set by its producer, beyond the calendar
        return datetime.max.replace(tzinfo=UTC)


def _read_edge_of_calendar(text: str) -> datetime | Reason:
    """Read what Python's calendar refuses: no such day, a UTC year beyond 1..9999, or year 0 that UTC moves into 1."""
    try:
        if text.startswith("0000-12-31"):
            return datetime.fromisoformat("0001" + text[4:]).astimezone(UTC) - timedelta(days=365)
        datetime.fromisoformat(text if not text.startswith("0000") else "0004" + text[4:])  # leap years both
    except OverflowError:
        return Reason.TIMESTAMP_YEAR
    except ValueError:
        return Reason.TIMESTAMP_NOT_RFC3339
    return Reason.TIMESTAMP_YEAR


def _parse_exactly(payload: bytes) -> Heartbeat | Reason:
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        return Reason.NOT_UTF8
    if _is_nested_too_deep(text):
        return Reason.NESTED_TOO_DEEP
    try:
        event = json.loads(text, parse_constant=_refuse_constant, parse_int=_read_integer)
    except ValueError:
        return Reason.NOT_JSON
    if not isinstance(event, dict):
        return Reason.NOT_AN_OBJECT
    try:
        return _ADAPTER.validate_python({key: event[key] for key in Heartbeat.__annotations__ if key in event})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = str(first["loc"][0])
        return _FIELD_REASONS.get((field, first["type"])) or _FIELD_REASONS[field, None]


def _is_nested_too_deep(text: str) -> bool:
    depth = 0
    for bracket in _NO_BRACKETS.sub("", _STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_NESTING:
            return True
    return False


def _refuse_constant(_name: str) -> None:
    raise ValueError


def _read_integer(digits: str) -> int:
    return int(digits[: LONGEST_INTEGER + 1])  # cut, it is still far out of every range
