"""The contract of an event: its fields, table, time and key. A wrong contract raises an error when it is created."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from common.errors import ConfigError
from contracts.fields import INTEGER_BYTES, AnyField, Float, Integer, IntegerArray, Json, Text, Timestamp, Uuid

# Lower case needs no quotes in SQL. The length leaves room for the names of partitions and indexes.
NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}")
# PostgreSQL's index holds at most 2,704 bytes of a row; a character has up to 4. A longer value would be an error that
# names no row, and so be retried for ever.
INDEXED_CHARACTERS: Final = 600
MAINTAINED_TABLE: Final = "heartbeats"  # the only one that has rollups and alarms
ROW_ID: Final = "id"  # the column that holds the event's position in Kafka


class Unknown(Enum):
    """What happens to fields that the contract does not name, unless they are kept (`Contract.keep_unknown_in`)."""

    IGNORED = "ignored"
    REFUSED = "refused"  # the message is quarantined as `unknown_field`


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """
    The contract of one kind of event.

    Args:
        title: The name of one event, for the JSON Schema.
        description: What an event means, one sentence without a full stop.
        table: The table of its rows, created by hand: `id bigint`, and a column for each field.
        key: The field that is the Kafka key.
        time: The field with the time of the event; it must not be far ahead of the broker's time.
        fields: In the order in which they are validated: the first fault becomes the reason.
        unknown: What happens to other fields.
        keep_unknown_in: A `jsonb` column that gets all other fields as one object.
        unique: The fields that make two events the same one, for producers that send an event again: the first is
            stored, the others are counted as duplicates. The table needs a unique index on exactly these columns.
        maintained: Whether db/ has rollups and alarms of the table. Only heartbeats have them.
    Raises:
        ConfigError: The contract contradicts itself.
    """

    title: str
    description: str
    table: str
    key: str
    time: str
    fields: tuple[AnyField, ...]
    unknown: Unknown = Unknown.IGNORED
    keep_unknown_in: str | None = None
    unique: tuple[str, ...] = ()
    maintained: bool = False

    def __post_init__(self) -> None:
        if fault := next(faults_of(self), None):
            raise ConfigError(
                f"cannot use the contract of {self.table}: {fault}",
                hint="Correct the contract; contracts/fields.py says which arguments each kind of field takes.",
            )

    @property
    def columns(self) -> tuple[AnyField, ...]:
        """Return the fields of a row: those declared, and the one that keeps the unknown fields."""
        return self.fields if self.keep_unknown_in is None else (*self.fields, Json(self.keep_unknown_in))

    @property
    def time_column(self) -> int:
        """Return the index of the time in `columns`."""
        return [field.name for field in self.fields].index(self.time)


def faults_of(contract: Contract) -> Iterator[str]:
    """Yield each fault of a contract, as a phrase."""
    names = [field.name for field in contract.columns]
    for name in (contract.table, *names):
        if not NAME.fullmatch(name):
            yield f"the name {name!r} must have at most 40 lower case letters, digits and _, and not begin with a digit"
    for name, count in Counter([ROW_ID, *names]).items():
        if count > 1:
            yield f"two columns have the name {name}"
    if contract.keep_unknown_in is not None and contract.unknown is Unknown.REFUSED:
        yield "other fields cannot be both kept and refused"
    by_name = {field.name: field for field in contract.fields}
    if not isinstance(by_name.get(contract.key), (Text, Uuid, Integer)) or by_name[contract.key].nullable:
        yield f"the key {contract.key} must be one of its fields, not nullable, a Text, Integer or Uuid"
    if not isinstance(by_name.get(contract.time), Timestamp) or by_name[contract.time].nullable:
        yield f"the time {contract.time} must be one of its fields, not nullable, a Timestamp"
    yield from unique_faults_of(contract)
    if contract.maintained != (contract.table == MAINTAINED_TABLE):
        yield f"the table {MAINTAINED_TABLE} must be maintained, and no other can be"
    for field in contract.fields:
        yield from (f"{field.name}: {fault}" for fault in field_faults_of(field))


def unique_faults_of(contract: Contract) -> Iterator[str]:
    """Yield each fault of the unique fields, as a phrase."""
    if contract.unique and contract.maintained:
        yield "a maintained table cannot have unique fields"
    fields = [field for field in contract.fields if field.name in contract.unique]
    if len(fields) < len(contract.unique) or any(
        field.nullable or isinstance(field, (IntegerArray, Json)) for field in fields
    ):
        yield "each unique field must be one of its fields, named once, not nullable, no Json and no IntegerArray"
    texts = [field.max_characters or INDEXED_CHARACTERS + 1 for field in fields if isinstance(field, Text)]
    if sum(texts) > INDEXED_CHARACTERS:
        yield f"max_characters of its unique Texts must be set, and add up to at most {INDEXED_CHARACTERS}"


def field_faults_of(field: AnyField) -> Iterator[str]:
    """Yield each fault of one field, as a phrase."""
    match field:
        case Integer() | IntegerArray():
            if field.size not in INTEGER_BYTES:
                yield f"its size must be 2, 4 or 8 bytes (got {field.size})"
            elif not -(1 << 8 * field.size - 1) <= field.lowest <= field.highest < 1 << 8 * field.size - 1:
                yield f"its range {field.lowest} to {field.highest} is empty, or wider than {field.size} bytes"
            if isinstance(field, IntegerArray) and field.max_elements < 1:
                yield "max_elements must be at least 1"
        case Float():
            limits = [limit for limit in (field.minimum, field.maximum) if limit is not None]
            if not all(map(math.isfinite, limits)) or limits != sorted(limits):
                yield f"its range {field.minimum} to {field.maximum} is empty, or not finite"
        case Text():
            yield from text_faults_of(field)


def text_faults_of(field: Text) -> Iterator[str]:
    """Yield each fault of one text, as a phrase."""
    fewest, most = field.min_characters, field.max_characters
    if fewest < 0 or (most is not None and most < max(1, fewest)):
        yield f"its length {fewest} to {most} is negative or empty"
    if len(set(field.choices)) < len(field.choices):
        yield "two choices are equal"
    try:
        re.compile(field.pattern or "")
    except re.error as error:
        yield f"its pattern is no regular expression: {error}"
