"""
Bytes become an event of a contract, or the reason why they are not one; the same function for every engine.

Nearly every payload is good, so it takes a short way: one pass of msgspec's parser, which accepts nothing that the
contract refuses. What it refuses is looked at again, slowly and exactly, to give the right reason; and to accept what a
quick parser refuses although the contract does not, such as a lone surrogate in a field that nobody reads.
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
    Judges payloads; used by one thread at a time.

    Args:
        contract: What a payload must be.
        max_future: How far an event's time may be ahead of the time of its record.
    """

    def __init__(self, contract: Contract, max_future: timedelta) -> None:
        self.contract = contract
        self._fields = [_Field(field) for field in contract.fields]
        self._parse = Decoder(_parsed_as(contract, self._fields)).decode
        self._converts = [(field.parsed, field.convert) for field in self._fields]
        self._others = _Others(contract) if contract.keep_unknown_in else None
        self._max_future_us = max_future // timedelta(microseconds=1)
        self._time = contract.time_column
        self._names = {field.name for field in contract.fields}
        self._needs_texts = any(isinstance(field.kind, JsonKind) for field in self._fields) or self._others is not None

    def __call__(self, payload: bytes | None, appended_ms: int) -> Event | str:
        """
        Judge one payload.

        Args:
            payload: As it came; None for a tombstone.
            appended_ms: The record's time, in milliseconds since 1970; see `store.batch.judged_at_ms`.
        Returns:
            An event or the reason why it is none. Nothing is raised, and the verdict depends on the arguments
            alone, so a record that is read again gets the same one.
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
            parsed = list(map(self._parse, given))
            columns = [field.convert_all(list(map(field.parsed, parsed))) for field in self._fields]
            if self._others:
                columns.append(list(map(self._others.convert, given)))
        except (MsgspecError, FaultError):
            return None
        is_future = max(columns[self._time], default=0) > min(appended_ms, default=0) * 1000 + self._max_future_us
        return None if is_future else columns

    def columns_of(self, events: Sequence[Event]) -> Columns:
        """Give the columns of single events."""
        return [[event[place] for event in events] for place in range(len(self.contract.columns))]

    def read_exactly(self, payload: bytes) -> Event:
        """
        Read a payload by the letter of the contract, but for how far its time may be ahead.

        Raises:
            NotAnEventError: It is none; of several faults, the one of the contract's first field.
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
                    event.append(self._others.convert(payload))
                return tuple(event)
            except (MsgspecError, FaultError):
                pass
        return self.read_exactly(payload)


class _Field:
    """One field of a contract, and how its values are read."""

    def __init__(self, field: AnyField) -> None:
        self.name, self.nullable, self.kind = field.name, field.nullable, kind_of(field)
        self.parsed = attrgetter(field.name)  # of what the parser has made of an event
        self.convert: Callable[[Any], Any] = self._convert_if_given if field.nullable else self.kind.convert

    def read(self, found: Mapping[str, Any]) -> Any:  # noqa: ANN401 - the kind knows
        """Read its value from an object; NotAnEventError if it has none that is valid."""
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
        """Convert a column of what the parser has made."""
        if not self.nullable:
            return self.kind.convert_all(parsed)
        given = iter(self.kind.convert_all([value for value in parsed if value is not None]))
        return [None if value is None else next(given) for value in parsed]

    def _convert_if_given(self, parsed: Any) -> Any:  # noqa: ANN401 - the kind knows
        return None if parsed is None else self.kind.convert(parsed)


class _Others:
    """The fields that a contract does not name, kept in one column as an object."""

    def __init__(self, contract: Contract) -> None:
        self._column = _Field(contract.columns[-1])
        self._names = {field.name for field in contract.fields}
        self._parse = Decoder(dict[str, Raw]).decode

    def read(self, texts: Mapping[str, str]) -> bytes:
        """Collect them to the letter, given the text of each value."""
        found: bytes = self._column.read({self._column.name: self._object(texts)})
        return found

    def convert(self, payload: bytes) -> bytes:
        """Collect them by the parser; FaultError if they have to be looked at."""
        texts = {key: bytes(value).decode() for key, value in self._parse(payload).items()}
        found: bytes = self._column.convert(self._object(texts).encode())
        return found

    def _object(self, texts: Mapping[str, str]) -> str:
        return object_of({key: text for key, text in texts.items() if key not in self._names})


def _parsed_as(contract: Contract, fields: Sequence[_Field]) -> type[Struct]:
    """Make the type that the parser checks an event with."""
    types: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for field in fields:
        kind = field.kind
        if not field.nullable:
            types.append((field.name, kind.parsed_as))
        else:  # Raw holds a null by itself
            types.append((field.name, kind.parsed_as if isinstance(kind, JsonKind) else kind.parsed_as | None, None))
    is_closed = contract.unknown is Unknown.REFUSED
    return defstruct("Event", types, kw_only=True, gc=False, forbid_unknown_fields=is_closed)


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
