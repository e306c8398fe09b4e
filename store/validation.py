"""
Bytes become a heartbeat, or the reason why they are not one; the same function for every engine.

Nearly every payload is good, so it takes a short way: one pass of msgspec's parser, which accepts nothing that the
contract refuses. What it refuses is looked at again, slowly and exactly, to give the right reason; and to accept what a
parser in a hurry refuses although the contract does not, such as a lone surrogate in a field that nobody reads.
"""

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, NamedTuple, Self, TypeVar

from msgspec import Meta, MsgspecError, Struct
from msgspec.json import Decoder

from common.event import (
    CUSTOMER_ID_MAX_CHARACTERS,
    HEART_RATE_MAX_BPM,
    HEART_RATE_MIN_BPM,
    MAX_EVENT_BYTES,
    MAX_NESTING,
)
from store.reasons import FaultError, NotAHeartbeatError, Reason
from store.timestamps import Seconds, read_time

T = TypeVar("T")

LONGEST_INTEGER: Final = 20  # digits worth turning into a number; Python refuses to convert thousands of them


# Also a string without an end: looking for one from each quote on would take quadratic time.
_STRINGS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS: Final = re.compile(r"[^][{}]+")


class _Event(Struct, gc=False):
    customer_id: Annotated[str, Meta(min_length=1, max_length=CUSTOMER_ID_MAX_CHARACTERS)]
    timestamp: str
    heart_rate: Annotated[int, Meta(ge=HEART_RATE_MIN_BPM, le=HEART_RATE_MAX_BPM)]


class Heartbeat(NamedTuple):
    """A valid event; `time_us` is microseconds since 1970, UTC, `heart_rate` beats per minute."""

    time_us: int
    heart_rate: int
    customer_id: str


class Heartbeats(NamedTuple):
    """Valid events by column, in their order; the columns mean what a `Heartbeat`'s fields mean."""

    times_us: list[int]
    heart_rates: list[int]
    customer_ids: list[str]

    @classmethod
    def of(cls, heartbeats: Sequence[Heartbeat]) -> Self:
        """Return the columns of single heartbeats."""
        return cls(
            [heartbeat.time_us for heartbeat in heartbeats],
            [heartbeat.heart_rate for heartbeat in heartbeats],
            [heartbeat.customer_id for heartbeat in heartbeats],
        )

    def extend(self, others: Self) -> None:
        """Append others."""
        self.times_us.extend(others.times_us)
        self.heart_rates.extend(others.heart_rates)
        self.customer_ids.extend(others.customer_ids)


class Decode:
    """
    Judges payloads; used by one thread at a time.

    Args:
        max_future: How far a timestamp may be ahead of the time of its record.
    """

    def __init__(self, max_future: timedelta) -> None:
        self._parse = Decoder(_Event).decode
        self._seconds = Seconds()
        self._max_future_us = max_future // timedelta(microseconds=1)

    def __call__(self, payload: bytes | None, appended_ms: int) -> Heartbeat | Reason:
        """
        Judge one payload.

        Args:
            payload: As it came; None for a tombstone.
            appended_ms: The record's time, in milliseconds since 1970; see `store.record.judged_at_ms`.
        Returns:
            A heartbeat or the reason why it is none. Nothing is raised, and the verdict depends on the arguments
            alone, so a record that is read again gets the same one.
        """
        if payload is None:
            return Reason.TOMBSTONE
        if len(payload) > MAX_EVENT_BYTES:
            return Reason.EVENT_TOO_LARGE
        try:
            heartbeat = self._read(payload)
        except NotAHeartbeatError as error:
            return error.reason
        except FaultError as error:
            return Reason(f"timestamp_{error.fault}")
        if heartbeat.time_us > appended_ms * 1000 + self._max_future_us:
            return Reason.TIMESTAMP_FUTURE
        return heartbeat

    def all(self, payloads: Sequence[bytes | None], appended_ms: Sequence[int]) -> Heartbeats | None:
        """
        Judge many payloads sooner; None where one of them has to be looked at by itself.

        Each is parsed alone. Only what must hold for every single one is asked of all of them at once.
        """
        given = [payload for payload in payloads if payload is not None]
        longest = max(map(len, given), default=0)
        if len(given) < len(payloads) or longest > MAX_EVENT_BYTES:
            return None
        is_plain = longest <= MAX_NESTING and all(map(bytes.isascii, given))
        if not (is_plain or all(map(_is_for_parser, given))):
            return None
        try:
            events = list(map(self._parse, given))
            times_us = self._seconds.read_all([event.timestamp for event in events])
        except (MsgspecError, FaultError):
            return None
        customer_ids = [event.customer_id for event in events]
        is_future = max(times_us, default=0) > min(appended_ms, default=0) * 1000 + self._max_future_us
        if is_future or "\0" in "".join(customer_ids):
            return None
        return Heartbeats(times_us, [event.heart_rate for event in events], customer_ids)

    def _read(self, payload: bytes) -> Heartbeat:
        if _is_for_parser(payload):
            try:
                event = self._parse(payload)
            except MsgspecError:
                pass
            else:
                if "\0" not in event.customer_id:
                    return Heartbeat(self._seconds.read(event.timestamp), event.heart_rate, event.customer_id)
        return read_exactly(payload)


def _is_for_parser(payload: bytes) -> bool:
    """
    Return whether the parser can be believed when it accepts this.

    It neither looks at the UTF-8 of what it skips nor at how deep that is nested, at most one level a byte.
    """
    if len(payload) <= MAX_NESTING and payload.isascii():
        return True
    if payload.count(b"{") + payload.count(b"[") > MAX_NESTING:
        return False
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def read_exactly(payload: bytes) -> Heartbeat:
    """
    Read a payload by the letter of the contract, but for how far its timestamp may be ahead.

    Raises:
        NotAHeartbeatError: It is none; of several faults, customer before timestamp before heart rate.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError:
        raise NotAHeartbeatError(Reason.NOT_UTF8) from None
    if _is_nested_too_deep(text):
        raise NotAHeartbeatError(Reason.NESTED_TOO_DEEP)
    try:
        event = json.loads(text, parse_constant=_refuse_constant, parse_int=_read_integer)
    except ValueError:
        raise NotAHeartbeatError(Reason.NOT_JSON) from None
    if not isinstance(event, dict):
        raise NotAHeartbeatError(Reason.NOT_AN_OBJECT)
    customer_id = _customer_id_of(event)
    timestamp = _field(event, "timestamp", str, Reason.TIMESTAMP_MISSING, Reason.TIMESTAMP_NOT_A_STRING)
    return Heartbeat(read_time(timestamp), _heart_rate_of(event), customer_id)


def _customer_id_of(event: dict[str, Any]) -> str:
    found = _field(event, "customer_id", str, Reason.CUSTOMER_ID_MISSING, Reason.CUSTOMER_ID_NOT_A_STRING)
    if not _is_unicode(found):
        raise NotAHeartbeatError(Reason.CUSTOMER_ID_CHARACTERS)
    if not 1 <= len(found) <= CUSTOMER_ID_MAX_CHARACTERS:
        raise NotAHeartbeatError(Reason.CUSTOMER_ID_LENGTH)
    if "\0" in found:  # PostgreSQL's text cannot hold it, though JSON can
        raise NotAHeartbeatError(Reason.CUSTOMER_ID_CHARACTERS)
    return found


def _heart_rate_of(event: dict[str, Any]) -> int:
    found = _field(event, "heart_rate", int, Reason.HEART_RATE_MISSING, Reason.HEART_RATE_NOT_AN_INTEGER)
    if not HEART_RATE_MIN_BPM <= found <= HEART_RATE_MAX_BPM:
        raise NotAHeartbeatError(Reason.HEART_RATE_RANGE)
    return found


def _field(event: dict[str, Any], name: str, kind: type[T], missing: Reason, of_another_kind: Reason) -> T:
    if name not in event:
        raise NotAHeartbeatError(missing)
    found = event[name]
    if type(found) is not kind:  # a boolean is an int, too, for isinstance
        raise NotAHeartbeatError(of_another_kind)
    return found


def _is_unicode(text: str) -> bool:
    """Return whether no half of a surrogate pair stands alone, which JSON can say and UTF-8 cannot."""
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
