"""
Writes events in COPY's binary format, so that PostgreSQL does not parse numbers and dates.

Source: PostgreSQL's manual, "COPY", "Binary Format".
"""

from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from struct import Struct
from typing import Any, Final

from contracts.contract import ROW_ID, Contract
from store.kinds import Kind, kind_of
from store.validation import Columns

_START: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no further header
_END: Final = b"\xff\xff"
_NULL: Final = -1  # instead of a value's length
_length: Final = Struct(">i").pack


class Encode:
    """
    Writes a contract's rows; `columns_written` are their columns, in the order in which they are written.

    Values of a fixed size come first: one call packs all of them, and the length of the first value of a variable size.
    Each further value costs a call of its own.
    """

    def __init__(self, contract: Contract) -> None:
        kinds = [(place, kind_of(field), field) for place, field in enumerate(contract.columns)]
        self._fixed = [(place, kind) for place, kind, field in kinds if kind.code and not field.nullable]
        self._sized = [(place, kind, field.nullable) for place, kind, field in kinds if field.nullable or not kind.code]
        self._sizes = [Struct(f">{kind.code}").size for _, kind in self._fixed]
        codes = "".join(f"i{kind.code}" for _, kind in self._fixed)
        self._head = Struct(f">hiq{codes}{'i' if self._sized else ''}").pack
        places = [*(place for place, _ in self._fixed), *(place for place, _, _ in self._sized)]
        self.columns_written = (ROW_ID, *(contract.columns[place].name for place in places))

    def __call__(self, ids: Sequence[int], columns: Columns) -> bytes:
        """
        Return the bytes that COPY reads.

        Args:
            ids: The row ids (positions in Kafka), see kafka_place_id() in db/ledger.sql.
            columns: The events by column, in the contract's order.
        """
        head: list[Iterable[Any]] = [repeat(len(self.columns_written)), repeat(8), ids]
        for (place, kind), size in zip(self._fixed, self._sizes, strict=True):
            head += [repeat(size), kind.binary_all(columns[place])]
        tail: list[Iterable[bytes]] = []
        for place, kind, nullable in self._sized:
            lengths, values = _with_lengths(kind, columns[place], nullable=nullable)
            if tail:
                tail.append(map(_length, lengths))
            else:
                head.append(lengths)
            tail.append(values)
        return b"".join([_START, *chain.from_iterable(zip(map(self._head, *head), *tail, strict=True)), _END])


def _with_lengths(kind: Kind, column: Sequence[Any], *, nullable: bool) -> tuple[Iterable[int], Iterable[bytes]]:
    """Return the length of each value of a column, and the bytes of each."""
    if not nullable:
        values = kind.binary_all(column)
        return map(len, values), values
    given: Iterable[Any] = kind.binary_all([value for value in column if value is not None])
    if kind.code:
        given = map(Struct(f">{kind.code}").pack, given)
    rest = iter(given)
    found = [None if value is None else next(rest) for value in column]
    return [_NULL if value is None else len(value) for value in found], [value or b"" for value in found]
