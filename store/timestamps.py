"""Converts RFC 3339 date-times to microseconds."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime
from operator import add
from typing import Final

from common.event import TIMESTAMP_PATTERN
from store.reasons import FaultError

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAYOUT: Final = "2026-11-22T09:00:00.123456Z"  # as our producer writes it
ZONE: Final = LAYOUT.index("Z")
UTC_OFFSET: Final = "+00:00"  # as Python's isoformat() writes it
Y2000_US: Final = 946_684_800_000_000  # microseconds from 1970 to 2000
DOT: Final = LAYOUT.index(".")
DIGITS: Final = 6  # of a fraction that count: microseconds, as PostgreSQL keeps them
SECONDS_KEPT: Final = 4096  # arbitrary, far more than a batch of the latest messages has

_TIMESTAMP: Final = re.compile(TIMESTAMP_PATTERN)
_DAYS_OF_400_YEARS: Final = 146_097
_FIRST_US: Final = -62_135_596_800_000_000  # 0001-01-01T00:00:00Z
_LAST_US: Final = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z


class Seconds(dict[str, int]):
    """Reads date-times faster than `read_time`: it keeps the latest seconds by their text, `2026-11-22T09:00:00`."""

    def read(self, text: str) -> int:
        """Read an RFC 3339 date-time as `read_time` does; faster if it is in UTC and has a fraction."""
        zone = 1 if text[-1:] == "Z" else len(UTC_OFFSET) if text.endswith(UTC_OFFSET) else 0
        fraction = text[DOT + 1 : -zone]
        if zone and text[DOT : DOT + 1] == "." and fraction.isascii() and fraction.isdigit():
            return self[text[:DOT]] + int(fraction[:DIGITS].ljust(DIGITS, "0"))
        return read_time(text)

    def read_all(self, texts: Sequence[str]) -> list[int]:
        """
        Read date-times as `read_time` does.

        It is fastest if all have the layout `2026-11-22T09:00:00.123456Z`, or all have `+00:00` instead of the `Z`.
        """
        joined, count = "".join(texts), len(texts)
        zone = texts[0][ZONE:] if texts else ""
        length = ZONE + len(zone)
        fractions = [text[DOT + 1 : ZONE] for text in texts]
        if (
            zone in {"Z", UTC_OFFSET}
            and joined.isascii()  # other scripts have digits, too
            and set(map(len, texts)) == {length}
            and joined[DOT::length] == "." * count
            and all(joined[ZONE + place :: length] == letter * count for place, letter in enumerate(zone))
            and "".join(fractions).isdigit()
        ):
            seconds = map(self.__getitem__, [text[:DOT] for text in texts])
            return list(map(add, seconds, map(int, fractions)))
        return [self.read(text) for text in texts]

    def __missing__(self, text: str) -> int:
        found = read_time(text + "Z")
        if len(self) >= SECONDS_KEPT:
            self.clear()
        self[text] = found
        return found


def read_time(text: str) -> int:
    """
    Return an RFC 3339 date-time as microseconds since 1970; smaller fractions are cut off.

    Raises:
        FaultError: `not_rfc3339`; or `year`: it is not within the years 1 to 9999 in UTC.
    """
    if not _TIMESTAMP.fullmatch(text):
        raise FaultError("not_rfc3339")
    year = int(text[:4])
    try:
        # The calendar repeats every 400 years. Python's has neither the year 0 nor years after 9999.
        day = date(2000 + year % 400, int(text[5:7]), int(text[8:10]))
    except ValueError:
        raise FaultError("not_rfc3339") from None
    days = (day - date(1970, 1, 1)).days + (year // 400 - 5) * _DAYS_OF_400_YEARS
    fraction, ahead_min = text[20:-1], 0
    if text[-1] != "Z":
        fraction, ahead_min = text[20:-6], int(text[-5:-3]) * 60 + int(text[-2:])
        if text[-6] == "-":
            ahead_min = -ahead_min
    minutes = (days * 24 + int(text[11:13])) * 60 + int(text[14:16]) - ahead_min
    found = (minutes * 60 + int(text[17:19])) * 1_000_000 + int(fraction[:DIGITS].ljust(DIGITS, "0"))
    if not _FIRST_US <= found <= _LAST_US:
        raise FaultError("year")
    return found
