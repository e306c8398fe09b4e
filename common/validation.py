"""
Bytes become a heartbeat, or the reason why they are not one; the same function for every engine.

Nearly every payload is good, so it takes a short way: one pass of msgspec's parser, and a clock whose second is known
from an earlier message. Whatever that parser refuses is looked at again, slowly and exactly, to give the right reason;
and to accept what a parser in a hurry refuses although the contract does not, such as a lone surrogate in a field that
nobody reads.
"""

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, NamedTuple

from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder

from common.event import CUSTOMER_ID_MAX_CHARACTERS, HEART_RATE_MAX_BPM, HEART_RATE_MIN_BPM, MAX_NESTING
from common.reasons import Reason, RefusedError
from common.timestamps import Seconds

LONGEST_INTEGER: Final = 20  # digits worth turning into a number; Python refuses to convert thousands of them


class Heartbeat(Struct, gc=False):
    """
    A valid event.

    `heart_rate` is beats per minute; `timestamp` is what the sender wrote, `time_us` what it means: microseconds since
    1970, UTC, of a year from 1 to 9999. (A sender's own field of that name is overwritten.)
    """

    customer_id: Annotated[str, Meta(min_length=1, max_length=CUSTOMER_ID_MAX_CHARACTERS)]
    timestamp: str
    heart_rate: Annotated[int, Meta(ge=HEART_RATE_MIN_BPM, le=HEART_RATE_MAX_BPM)]
    time_us: int = 0


# Also a string without an end: looking for one from each quote on would take quadratic time.
_STRINGS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS: Final = re.compile(r"[^][{}]+")


class Heartbeats(NamedTuple):
    """Valid events by column, in their order; the columns mean what a `Heartbeat`'s fields mean."""

    times_us: list[int]
    heart_rates: list[int]
    customer_ids: list[str]

    @classmethod
    def of(cls, heartbeats: Sequence[Heartbeat]) -> "Heartbeats":
        """Give the columns of single heartbeats."""
        return cls(
            [heartbeat.time_us for heartbeat in heartbeats],
            [heartbeat.heart_rate for heartbeat in heartbeats],
            [heartbeat.customer_id for heartbeat in heartbeats],
        )


class Decode:
    """
    Judges payloads; used by one thread at a time.

    Args:
        max_future: How far a timestamp may be ahead of the time the broker gave the record.
    """

    def __init__(self, max_future: timedelta) -> None:
        self._parse = Decoder(Heartbeat).decode
        self._seconds = Seconds()
        self._max_future_us = max_future // timedelta(microseconds=1)

    def __call__(self, payload: bytes | None, appended_ms: int) -> Heartbeat | Reason:
        """
        Judge one payload.

        Args:
            payload: As it came; None for a tombstone.
            appended_ms: The broker's time of the record, in milliseconds since 1970.
        Returns:
            A heartbeat or the reason why it is none. Nothing is raised, and the verdict depends on the arguments
            alone, so a record that is read again gets the same one.
        """
        if payload is None:
            return Reason.TOMBSTONE
        try:
            heartbeat = self._read(payload)
            if "\0" in heartbeat.customer_id:  # PostgreSQL's text cannot hold it, though JSON can
                return Reason.CUSTOMER_ID_CHARACTERS
            heartbeat.time_us = self._seconds.read(heartbeat.timestamp)
        except RefusedError as refused:
            return refused.reason
        if heartbeat.time_us > appended_ms * 1000 + self._max_future_us:
            return Reason.TIMESTAMP_FUTURE
        return heartbeat

    def all(self, payloads: Sequence[bytes | None], appended_ms: Sequence[int]) -> Heartbeats | None:
        """
        Judge many payloads in two thirds of the time; None where one of them has to be looked at by itself.

        Each is parsed alone. Only what must hold for every single one is asked of all of them at once.
        """
        given = [payload for payload in payloads if payload is not None]
        joined = b"".join(given)
        is_short = len(given) == len(payloads) and max(map(len, given), default=0) <= MAX_NESTING
        if not is_short or not joined.isascii() or b"\\u0000" in joined:
            return None
        try:
            events = list(map(self._parse, given))
            times_us = self._seconds.read_all([event.timestamp for event in events])
        except (MsgspecError, RefusedError):
            return None
        if max(times_us, default=0) > min(appended_ms, default=0) * 1000 + self._max_future_us:
            return None
        return Heartbeats(times_us, [event.heart_rate for event in events], [event.customer_id for event in events])

    def _read(self, payload: bytes) -> Heartbeat:
        # Short ASCII is what the parser reads to the letter, the rest may hold what it does not look at.
        if (len(payload) <= MAX_NESTING and payload.isascii()) or _is_for_parser(payload):
            try:
                return self._parse(payload)
            except MsgspecError:
                pass
        return read_exactly(payload)


def _is_for_parser(payload: bytes) -> bool:
    """Tell whether the parser reads this as the contract does; what it skips, it takes on trust."""
    if payload.count(b"{") + payload.count(b"[") > MAX_NESTING:
        return False
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def read_exactly(payload: bytes) -> Heartbeat:
    """
    Read a payload by the letter of the contract, but for what its timestamp says.

    Raises:
        RefusedError: It is none; the reason is that of the first thing wrong.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        raise RefusedError(Reason.NOT_UTF8) from None
    if _is_nested_too_deep(text):
        raise RefusedError(Reason.NESTED_TOO_DEEP)
    try:
        event = json.loads(text, parse_constant=_refuse_constant, parse_int=_read_integer)
    except ValueError:
        raise RefusedError(Reason.NOT_JSON) from None
    if not isinstance(event, dict):
        raise RefusedError(Reason.NOT_AN_OBJECT)
    return Heartbeat(_customer_id_of(event), _timestamp_of(event), _heart_rate_of(event))


def _customer_id_of(event: dict[str, Any]) -> str:
    if "customer_id" not in event:
        raise RefusedError(Reason.CUSTOMER_ID_MISSING)
    found = event["customer_id"]
    if not isinstance(found, str):
        raise RefusedError(Reason.CUSTOMER_ID_NOT_A_STRING)
    if not _is_unicode(found):
        raise RefusedError(Reason.CUSTOMER_ID_CHARACTERS)
    if not 1 <= len(found) <= CUSTOMER_ID_MAX_CHARACTERS:
        raise RefusedError(Reason.CUSTOMER_ID_LENGTH)
    return found


def _timestamp_of(event: dict[str, Any]) -> str:
    if "timestamp" not in event:
        raise RefusedError(Reason.TIMESTAMP_MISSING)
    found = event["timestamp"]
    if not isinstance(found, str):
        raise RefusedError(Reason.TIMESTAMP_NOT_A_STRING)
    return found


def _heart_rate_of(event: dict[str, Any]) -> int:
    if "heart_rate" not in event:
        raise RefusedError(Reason.HEART_RATE_MISSING)
    found = event["heart_rate"]
    if type(found) is not int:  # a boolean is one, too, for isinstance
        raise RefusedError(Reason.HEART_RATE_NOT_AN_INTEGER)
    if not HEART_RATE_MIN_BPM <= found <= HEART_RATE_MAX_BPM:
        raise RefusedError(Reason.HEART_RATE_RANGE)
    return found


def _is_unicode(text: str) -> bool:
    """Tell whether no half of a surrogate pair stands alone, which JSON can say and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


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
