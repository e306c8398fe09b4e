"""
Validates payloads: bytes become an event of a contract, or a reason for quarantine. Both engines use it.

Nearly every payload is valid, so msgspec's fast parser comes first. It accepts nothing that the contract refuses. What
it refuses is parsed again, slowly and exactly, for two purposes: to find the right reason, and to accept valid events
that the fast parser rejects, for example a lone surrogate in a field that the contract ignores.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from operator import attrgetter
from typing import Any, Final

from msgspec import MsgspecError, Raw, Struct, defstruct
from msgspec.json import Decoder

from common.event import MAX_EVENT_BYTES, MAX_NESTING
from contracts.contract import Contract, Unknown
from contracts.fields import AnyField
from store.json_text import members_of, object_of, read_object
from store.kinds import JsonKind, kind_of
from store.reasons import FaultError, NotAnEventError, Reason

Event = tuple[Any, ...]  # the values of a contract's columns, in their order, as `store.kinds` makes them
Columns = list[list[Any]]  # the same of many events, by column
_MISSING: Final = object()


class Decode:
    """
    Validates payloads; used by one thread at a time.

    Args:
        contract: What a payload must be.
        max_future: How far an event's time may be ahead of the time of its record.
    """

    def __init__(self, contract: Contract, max_future: timedelta) -> None:
        self.contract = contract
        self._fields = [_Field(field, place) for place, field in enumerate(contract.fields)]
        self._parse = Decoder(_parsed_as(contract, self._fields)).decode
        self._converts = [(field.parsed, field.convert) for field in self._fields]
        self._others = _Others(contract) if contract.keep_unknown_in else None
        self._max_future_us = max_future // timedelta(microseconds=1)
        self._time = contract.time_column
        self._names = {field.name for field in contract.fields}
        self._needs_texts = any(isinstance(field.kind, JsonKind) for field in self._fields) or self._others is not None

    def __call__(self, payload: bytes | None, appended_ms: int) -> Event | str:
        """
        Validate one payload.

        Args:
            payload: The message's value, unchanged; None for a tombstone.
            appended_ms: The record's time, in milliseconds since 1970; see `store.record.reference_ms`.
        Returns:
            The event, or the reason for quarantine. Nothing is raised. The result depends only on the arguments, so a
            record that is read again gets the same one.
        """
        if payload is None:
            return Reason.TOMBSTONE
        if len(payload) > MAX_EVENT_BYTES:
            return Reason.EVENT_TOO_LARGE
        try:
            event = self._read(payload)
        except NotAnEventError as error:
            return error.reason
        if event[self._time] > appended_ms * 1000 + self._max_future_us:
            return f"{self.contract.time}_future"
        return event

    def all(self, payloads: Sequence[bytes | None], appended_ms: Sequence[int]) -> Columns | None:
        """
        Validate many payloads at once, which is faster. Return None if one of them must be validated alone.

        Each is parsed alone. Only the checks that every payload must pass are made on all of them together.
        """
        given = [payload for payload in payloads if payload is not None]
        longest = max(map(len, given), default=0)
        if len(given) < len(payloads) or longest > MAX_EVENT_BYTES:
            return None
        is_flat = longest <= MAX_NESTING or max([one.count(b"{") + one.count(b"[") for one in given]) <= MAX_NESTING
        if not (is_flat and all(map(bytes.isascii, given))) and not all(map(_is_for_parser, given)):
            return None
        try:
            parsed = list(map(self._parse, given))
            columns = [field.convert_all(list(map(field.parsed, parsed))) for field in self._fields]
            if self._others:
                columns.append(self._others.convert_all(given))
        except (MsgspecError, FaultError):
            return None
        is_future = max(columns[self._time], default=0) > min(appended_ms, default=0) * 1000 + self._max_future_us
        return None if is_future else columns

    def columns_of(self, events: Sequence[Event]) -> Columns:
        """Return events by column."""
        return [[event[place] for event in events] for place in range(len(self.contract.columns))]

    def read_exactly(self, payload: bytes) -> Event:
        """
        Read a payload exactly as the contract says, without the check for a time in the future.

        Raises:
            NotAnEventError: It is not valid. Of several faults, the first in the order of the contract's fields counts.
        """
        found, text = read_object(payload)
        texts = members_of(text) if self._needs_texts else {}
        event = [field.read(texts if isinstance(field.kind, JsonKind) else found) for field in self._fields]
        if self.contract.unknown is Unknown.REFUSED and found.keys() - self._names:
            raise NotAnEventError(Reason.UNKNOWN_FIELD)
        if self._others:
            event.append(self._others.read(texts))
        return tuple(event)

    def _read(self, payload: bytes) -> Event:
        if _is_for_parser(payload):
            try:
                parsed = self._parse(payload)
                event = [convert(value_of(parsed)) for value_of, convert in self._converts]
                if self._others:
                    event += self._others.convert_all([payload])
                return tuple(event)
            except (MsgspecError, FaultError):
                pass
        return self.read_exactly(payload)


class _Field:
    """One field of a contract, and how its values are read."""

    def __init__(self, field: AnyField, place: int) -> None:
        self.name, self.nullable, self.kind = field.name, field.nullable, kind_of(field)
        self.attribute = f"f{place}"  # of a parsed event; the name itself may be one that Python uses, as __module__
        self.parsed = attrgetter(self.attribute)
        self.convert: Callable[[Any], Any] = self._convert_if_given if field.nullable else self.kind.convert

    def read(self, found: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the kind's own type
        """Read the field's value from an object; raise NotAnEventError if it is missing or invalid."""
        value = found.get(self.name, _MISSING)
        if self.nullable and (value is None or value is _MISSING):
            return None
        if value is _MISSING:
            raise NotAnEventError(f"{self.name}_missing")
        try:
            return self.kind.read(value)
        except FaultError as error:
            raise NotAnEventError(f"{self.name}_{error.fault}") from None

    def convert_all(self, parsed: list[Any]) -> list[Any]:
        """Convert a column of parsed values."""
        if not self.nullable:
            return self.kind.convert_all(parsed)
        given = iter(self.kind.convert_all([value for value in parsed if value is not None]))
        return [None if value is None else next(given) for value in parsed]

    def _convert_if_given(self, parsed: Any) -> Any:  # noqa: ANN401 - the kind's own type
        return None if parsed is None else self.kind.convert(parsed)


class _Others:
    """The fields that a contract does not name, kept in one column as an object."""

    def __init__(self, contract: Contract) -> None:
        self._column = _Field(contract.columns[-1], len(contract.fields))
        self._names = {field.name for field in contract.fields}
        self._parse = Decoder(dict[str, Raw]).decode

    def read(self, texts: Mapping[str, str]) -> bytes:
        """Return them as an object, given the exact text of each value."""
        others = [(key, text.encode()) for key, text in texts.items() if key not in self._names]
        found: bytes = self._column.read({self._column.name: object_of(others).decode()})
        return found

    def convert_all(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Return those of each payload as an object, by the fast parser; raise FaultError if `read` must decide."""
        names = self._names
        found = [
            object_of([(key, bytes(value)) for key, value in others.items() if key not in names])
            for others in map(self._parse, payloads)
        ]
        return self._column.convert_all(found)


def _parsed_as(contract: Contract, fields: Sequence[_Field]) -> type[Struct]:
    """Return the type against which the fast parser checks an event."""
    types: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in fields:
        kind = field.kind
        if not field.nullable:
            types.append((field.attribute, kind.parsed_as))
        else:  # Raw can hold a null itself
            nullable = kind.parsed_as if isinstance(kind, JsonKind) else kind.parsed_as | None
            types.append((field.attribute, nullable, None))
    is_closed = contract.unknown is Unknown.REFUSED
    names = {field.attribute: field.name for field in fields}
    return defstruct("Event", types, kw_only=True, gc=False, forbid_unknown_fields=is_closed, rename=names)


def _is_for_parser(payload: bytes) -> bool:
    """
    Return whether the fast parser's acceptance of this payload is reliable.

    In values that it skips, it checks neither UTF-8 nor the depth of nesting. Depth is at most one level a byte.
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
