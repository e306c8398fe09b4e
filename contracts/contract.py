"""What an event is: its fields, its table, its time and its key. A wrong declaration is refused where it is made."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

from common.errors import ConfigError
from contracts.fields import INTEGER_BYTES, AnyField, Json, Text, Timestamp, Uuid, Whole, Wholes

# Lower case, so that nobody has to quote it; short enough for the names of partitions and indexes.
NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}")
ROW_ID: Final = "id"  # the column that holds the event's place in Kafka


class Unknown(Enum):
    """What becomes of fields that the contract does not name, unless they are kept (`Contract.keep_unknown_in`)."""

    IGNORED = "ignored"
    REFUSED = "refused"  # the message is quarantined as `unknown_field`


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """
    An event.

    Args:
        title: What one event is called, for the JSON Schema.
        description: What it says, one sentence without a full stop.
        table: Where its rows go, a table of SQL that a person wrote: `id bigint`, and a column for each field.
        key: The field that is the Kafka key.
        time: The field that says when it happened; it must not be far ahead of the broker's time.
        fields: In the order in which faults are looked for: the first one names the reason.
        unknown: What becomes of other fields.
        keep_unknown_in: A `jsonb` column that gets all other fields as one object.
        maintained: Whether db/ keeps the table: makes a partition a day, drops old ones, sums up the rollups. It does
            so for heartbeats alone; other tables keep all rows.
    Raises:
        ConfigError: The declaration contradicts itself.
    """

    title: str
    description: str
    table: str
    key: str
    time: str
    fields: tuple[AnyField, ...]
    unknown: Unknown = Unknown.IGNORED
    keep_unknown_in: str | None = None
    maintained: bool = False

    def __post_init__(self) -> None:
        if fault := next(faults_of(self), None):
            raise ConfigError(
                f"cannot use the contract of {self.table}: {fault}",
                hint="Correct the declaration; contracts/fields.py says what each kind of field takes.",
            )

    @property
    def columns(self) -> tuple[AnyField, ...]:
        """Return the fields that a row holds: those declared, and the one that keeps the others."""
        return self.fields if self.keep_unknown_in is None else (*self.fields, Json(self.keep_unknown_in))

    @property
    def time_column(self) -> int:
        """Return where the time stands in `columns`."""
        return [field.name for field in self.fields].index(self.time)


def faults_of(contract: Contract) -> Iterator[str]:
    """Say what is wrong with a declaration, a phrase a fault."""
    names = [field.name for field in contract.columns]
    for name in (contract.table, *names):
        if not NAME.fullmatch(name):
            yield f"the name {name!r} is not lower case letters, digits and _, at most 40"
    for name, count in Counter([ROW_ID, *names]).items():
        if count > 1:
            yield f"two columns are called {name}"
    if contract.keep_unknown_in is not None and contract.unknown is Unknown.REFUSED:
        yield "other fields cannot be both kept and refused"
    by_name = {field.name: field for field in contract.fields}
    if not isinstance(by_name.get(contract.key), (Text, Uuid, Whole)) or by_name[contract.key].nullable:
        yield f"the key {contract.key} is no required text, whole number or UUID of it"
    if not isinstance(by_name.get(contract.time), Timestamp) or by_name[contract.time].nullable:
        yield f"the time {contract.time} is no required time stamp of it"
    for field in contract.fields:
        yield from (f"{field.name}: {fault}" for fault in field_faults_of(field))


def field_faults_of(field: AnyField) -> Iterator[str]:
    """Say what is wrong with one field."""
    match field:
        case Whole() | Wholes():
            if field.size not in INTEGER_BYTES:
                yield f"its size is {field.size}, not 2, 4 or 8 bytes"
            elif not -(1 << 8 * field.size - 1) <= field.lowest <= field.highest < 1 << 8 * field.size - 1:
                yield f"its range {field.lowest} to {field.highest} is empty, or wider than {field.size} bytes"
            if isinstance(field, Wholes) and field.max_elements < 1:
                yield "it may have no element"
        case Text():
            if not 0 <= field.min_characters <= (field.max_characters or field.min_characters):
                yield f"no text has {field.min_characters} to {field.max_characters} characters"
            if len(set(field.choices)) < len(field.choices):
                yield "a choice is there twice"
            try:
                re.compile(field.pattern or "")
            except re.error as error:
                yield f"its pattern is none: {error}"
