"""
The kinds of fields that an event can have, as declarations. `store/kinds.py` reads and writes their values.

A field's name is its key in the JSON object and its column in the table. A field that is not `nullable` must be present
and not null. If it is `nullable`, a missing field and null both become NULL.
"""

from dataclasses import dataclass, field

INTEGER_BYTES = (2, 4, 8)  # of PostgreSQL's smallint, integer and bigint


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """
    What all kinds of fields have.

    Args:
        name: The JSON key and the column.
        nullable: Whether it may be missing or null.
        description: For the JSON Schema, a phrase without a full stop.
    """

    name: str = field(kw_only=False)
    nullable: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(_Field):
    """
    A string; `varchar` or `text`.

    Args:
        min_characters, max_characters: Its length in Unicode code points; None: only the event's size limits it.
        pattern: A regular expression that the whole text must match, in syntax that Python and JSON Schema share.
        choices: The only texts allowed; empty: any text.
    """

    min_characters: int = 1
    max_characters: int | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _IntegerField(_Field):
    """
    What `Integer` and `IntegerArray` have.

    Args:
        size: Bytes of a number in the table: 2, 4 or 8.
        minimum, maximum: The range, both included; None: the column's own limit.
    """

    size: int = 4
    minimum: int | None = None
    maximum: int | None = None

    @property
    def lowest(self) -> int:
        """Return the smallest number allowed."""
        return -(1 << 8 * self.size - 1) if self.minimum is None else self.minimum

    @property
    def highest(self) -> int:
        """Return the largest number allowed."""
        return (1 << 8 * self.size - 1) - 1 if self.maximum is None else self.maximum


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer(_IntegerField):
    """A whole number, written without fraction or exponent; `smallint`, `integer` or `bigint`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerArray(_IntegerField):
    """
    An array of whole numbers, without nulls; `smallint[]`, `integer[]` or `bigint[]`.

    Args:
        max_elements: The most elements; the array may be empty.
    """

    max_elements: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Float(_Field):
    """
    A number, stored as the nearest 64-bit floating point number; `double precision`.

    Args:
        minimum, maximum: The range, both included; None: the column's own limit.
    """

    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Boolean(_Field):
    """True or false; `boolean`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timestamp(_Field):
    """An RFC 3339 date-time, truncated to microseconds; `timestamptz`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uuid(_Field):
    """A UUID in its usual form of 36 characters, in either case; `uuid`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Json(_Field):
    """Any JSON value but null; `jsonb`."""


AnyField = Text | Integer | IntegerArray | Float | Boolean | Timestamp | Uuid | Json
