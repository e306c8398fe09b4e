"""
Reads and writes the values of each kind of field.

`read` checks a JSON value exactly and names its fault. `convert` (one value) and `convert_all` (a column, faster) take
what the fast parser returned, and refuse everything that `read` refuses. For a valid value, all return the same.
More than 250 lines: each kind is one class.
"""

import math
import re
import sys
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from itertools import chain
from struct import Struct
from typing import Annotated, Any, ClassVar, Final, assert_never

from msgspec import Meta, Raw

from contracts.fields import AnyField, Boolean, Float, Integer, IntegerArray, Json, Text, Timestamp, Uuid
from store.json_text import Long, are_plainly_storable, check_storable, is_unicode
from store.reasons import FaultError
from store.timestamps import Y2000_US, Seconds, read_time

INTEGER_TYPES: Final = {2: "smallint", 4: "integer", 8: "bigint"}
INTEGER_CODES: Final = {2: "h", 4: "i", 8: "q"}  # of the struct module
INTEGER_OIDS: Final = {2: 21, 4: 23, 8: 20}  # of those types, in PostgreSQL's catalog pg_type
_ARRAY, _EMPTY_ARRAY = Struct(">5i"), Struct(">3i")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


class Kind(ABC):
    """
    Converts one field's values from JSON to PostgreSQL.

    `parsed_as` is the type that the fast parser checks. `types` are PostgreSQL's names of the types that the column may
    have. `code` is the struct module's letter for the values if all have the same size, else empty.
    """

    parsed_as: Any
    types: tuple[str, ...]
    code: str = ""

    @abstractmethod
    def read(self, found: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Return the value of a JSON value; raise FaultError if it is not valid for this kind."""

    @abstractmethod
    def convert(self, parsed: Any) -> Any:  # noqa: ANN401 - of the type `parsed_as`
        """Return the value that `read` returns; raise FaultError if `read` would refuse it, or might."""

    def convert_all(self, parsed: list[Any]) -> list[Any]:
        """Convert a column."""
        return list(map(self.convert, parsed))

    def binary_all(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return the values for COPY's binary format: bytes, or if `code` is set, what struct packs."""
        return values


class TextKind(Kind):
    """Strings, as `str`."""

    types = ("character varying", "text")

    def __init__(self, field: Text) -> None:
        self._lengths = range(field.min_characters, (field.max_characters or 1 << 30) + 1)
        self._matches = None if field.pattern is None else re.compile(field.pattern).fullmatch
        self._choices = frozenset(field.choices)
        self.parsed_as = Annotated[str, Meta(min_length=field.min_characters, max_length=field.max_characters)]

    def read(self, found: Any) -> str:  # noqa: ANN401 - any JSON value
        """Refuse with `not_a_string`, `characters`, `length`, `pattern` or `choice`."""
        if type(found) is not str:
            raise FaultError("not_a_string")
        if not is_unicode(found):
            raise FaultError("characters")
        if len(found) not in self._lengths:
            raise FaultError("length")
        return self.convert(found)

    def convert(self, parsed: str) -> str:
        """Refuse NUL, which JSON allows and PostgreSQL's text does not, and what pattern and choices refuse."""
        if "\0" in parsed:
            raise FaultError("characters")
        if self._matches and not self._matches(parsed):
            raise FaultError("pattern")
        if self._choices and parsed not in self._choices:
            raise FaultError("choice")
        return parsed

    def convert_all(self, parsed: list[str]) -> list[str]:
        """Check the whole column at once."""
        if "\0" in "".join(parsed):
            raise FaultError("characters")
        if self._matches or self._choices:
            for text in set(parsed):
                self.convert(text)
        return parsed

    def binary_all(self, values: Sequence[str]) -> list[bytes]:
        """Return the values in UTF-8."""
        return [value.encode() for value in values]


class IntegerKind(Kind):
    """Whole numbers, as `int`."""

    def __init__(self, field: Integer | IntegerArray) -> None:
        self._lowest, self._highest = field.lowest, field.highest
        self.parsed_as = Annotated[int, Meta(ge=field.lowest, le=field.highest)]
        self.types = (INTEGER_TYPES[field.size],)
        self.code = INTEGER_CODES[field.size]

    def read(self, found: Any) -> int:  # noqa: ANN401 - any JSON value
        """Refuse with `not_an_integer` or `range`."""
        if type(found) is Long:
            raise FaultError("range")
        if type(found) is not int:  # isinstance would accept a boolean
            raise FaultError("not_an_integer")
        if not self._lowest <= found <= self._highest:
            raise FaultError("range")
        return found

    def convert(self, parsed: int) -> int:
        """Return it: the fast parser has checked everything."""
        return parsed

    def convert_all(self, parsed: list[int]) -> list[int]:
        """Return them: the fast parser has checked everything."""
        return parsed


class IntegerArrayKind(Kind):
    """Arrays of whole numbers, as lists."""

    def __init__(self, field: IntegerArray) -> None:
        self._element = IntegerKind(field)
        self._max_elements = field.max_elements
        self._oid, self._size = INTEGER_OIDS[field.size], field.size
        self.parsed_as = Annotated[list[self._element.parsed_as], Meta(max_length=field.max_elements)]  # type: ignore[name-defined]  # made when the program runs
        self.types = (f"{self._element.types[0]}[]",)

    def read(self, found: Any) -> list[int]:  # noqa: ANN401 - any JSON value
        """Refuse with `not_an_array`, `length`, or the fault of an element."""
        if type(found) is not list:
            raise FaultError("not_an_array")
        if len(found) > self._max_elements:
            raise FaultError("length")
        return list(map(self._element.read, found))

    def convert(self, parsed: list[int]) -> list[int]:
        """Return it: the fast parser has checked everything."""
        return parsed

    def binary_all(self, values: Sequence[list[int]]) -> list[bytes]:
        """Return each array: dimensions, no nulls, element type, length, first index; then sizes and elements."""
        elements = array(self._element.code, chain.from_iterable(values))
        if sys.byteorder == "little":
            elements.byteswap()
        # By byte instead of by element, which halves the time.
        width = 4 + self._size
        sized, plain = bytearray(width * len(elements)), elements.tobytes()
        sized[3::width] = bytes([self._size]) * len(elements)
        for place in range(self._size):
            sized[4 + place :: width] = plain[place :: self._size]
        found, written, start = [], bytes(sized), 0
        for value in values:
            end = start + width * len(value)
            header = _ARRAY.pack(1, 0, self._oid, len(value), 1) if value else _EMPTY_ARRAY.pack(0, 0, self._oid)
            found.append(header + written[start:end])
            start = end
        return found


class FloatKind(Kind):
    """Numbers, as `float`."""

    types = ("double precision",)
    code = "d"

    def __init__(self, field: Float) -> None:
        self._lowest = -math.inf if field.minimum is None else field.minimum
        self._highest = math.inf if field.maximum is None else field.maximum
        self.parsed_as = Annotated[float, Meta(ge=field.minimum, le=field.maximum)]

    def read(self, found: Any) -> float:  # noqa: ANN401 - any JSON value
        """Refuse with `not_a_number` or `range`."""
        if type(found) not in {int, float, Long}:
            raise FaultError("not_a_number")
        return self.convert(float(found))

    def convert(self, parsed: float) -> float:
        """Refuse numbers out of range, among them those that JSON can write and a double cannot hold."""
        if not math.isfinite(parsed) or not self._lowest <= parsed <= self._highest:
            raise FaultError("range")
        return parsed

    def convert_all(self, parsed: list[float]) -> list[float]:
        """Check the whole column at once; the fast parser has refused what is not a number."""
        if parsed:
            self.convert(min(parsed))
            self.convert(max(parsed))
        return parsed


class BooleanKind(Kind):
    """True and false, as `bool`."""

    parsed_as = bool
    types = ("boolean",)
    code = "?"

    def read(self, found: Any) -> bool:  # noqa: ANN401 - any JSON value
        """Refuse with `not_a_boolean`."""
        if type(found) is not bool:
            raise FaultError("not_a_boolean")
        return found

    def convert(self, parsed: bool) -> bool:  # noqa: FBT001 - the value itself
        """Return it: the fast parser has checked everything."""
        return parsed


class TimestampKind(Kind):
    """Timestamps, as microseconds since 1970."""

    parsed_as = str
    types = ("timestamp with time zone",)
    code = "q"

    def __init__(self) -> None:
        self._seconds = Seconds()

    def read(self, found: Any) -> int:  # noqa: ANN401 - any JSON value
        """Refuse with `not_a_string`, `not_rfc3339` or `year`."""
        if type(found) is not str:
            raise FaultError("not_a_string")
        return read_time(found)

    def convert(self, parsed: str) -> int:
        """Read the timestamp; this is fastest in the layout of this project's producer."""
        return self._seconds.read(parsed)

    def convert_all(self, parsed: list[str]) -> list[int]:
        """Read the timestamps; this is fastest if all have that layout."""
        return self._seconds.read_all(parsed)

    def binary_all(self, values: Sequence[int]) -> list[int]:
        """Return microseconds since 2000."""
        return [value - Y2000_US for value in values]


class UuidKind(Kind):
    """UUIDs, as 16 bytes."""

    parsed_as = str
    types = ("uuid",)
    code = "16s"

    def read(self, found: Any) -> bytes:  # noqa: ANN401 - any JSON value
        """Refuse with `not_a_string` or `not_a_uuid`."""
        if type(found) is not str:
            raise FaultError("not_a_string")
        return self.convert(found)

    def convert(self, parsed: str) -> bytes:
        """Return the 16 bytes."""
        if not _UUID.fullmatch(parsed):
            raise FaultError("not_a_uuid")
        return bytes.fromhex(parsed.replace("-", ""))


class JsonKind(Kind):
    """JSON values, as text in UTF-8; `read` and `convert` take JSON text, not parsed values."""

    parsed_as = Raw
    types = ("jsonb",)
    VERSION: ClassVar = b"\1"  # of jsonb's binary format: this byte, then text

    def __init__(self, field: Json) -> None:
        self._nullable = field.nullable

    def read(self, found: str) -> bytes | None:
        """Refuse with `null`, `characters` or `range`; return None for null if the field is nullable."""
        check_storable(found)
        return self._unless_null(found.encode())

    def convert(self, parsed: Raw | bytes) -> bytes | None:
        """Return the text; refuse everything that only `read` can decide."""
        return self.convert_all([parsed])[0]

    def convert_all(self, parsed: Sequence[Raw | bytes]) -> list[bytes | None]:
        """Check the whole column at once."""
        texts = list(map(bytes, parsed))
        if not are_plainly_storable(texts):
            raise FaultError("characters")
        return list(map(self._unless_null, texts)) if b"null" in texts else list(texts)

    def binary_all(self, values: Sequence[bytes]) -> list[bytes]:
        """Return each value after the version."""
        return [self.VERSION + value for value in values]

    def _unless_null(self, text: bytes) -> bytes | None:
        if text != b"null":
            return text
        if not self._nullable:
            raise FaultError("null")
        return None


def kind_of(field: AnyField) -> Kind:  # noqa: PLR0911 - one for each kind
    """Return the reader and writer of a field's values."""
    match field:
        case Text():
            return TextKind(field)
        case Integer():
            return IntegerKind(field)
        case IntegerArray():
            return IntegerArrayKind(field)
        case Float():
            return FloatKind(field)
        case Boolean():
            return BooleanKind()
        case Timestamp():
            return TimestampKind()
        case Uuid():
            return UuidKind()
        case Json():
            return JsonKind(field)
    assert_never(field)
