"""
Heartbeats in COPY's binary format, which spares PostgreSQL the reading of numbers and dates.

Source: PostgreSQL's manual, "COPY", "Binary Format"; a timestamptz is its microseconds since 2000.
"""

from collections.abc import Iterable
from struct import Struct
from typing import Final

from store.timestamps import Y2000_US

COPY_HEARTBEATS: Final = 'COPY heartbeats (id, "timestamp", heart_rate, customer_id) FROM STDIN (FORMAT binary)'

_START: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # no flags, no further header
_END: Final = b"\xff\xff"
_fields = Struct(">h iq iq ii i").pack  # how many there are; before each, its length in bytes


def row(row_id: int, time_us: int, heart_rate: int, customer_id: str) -> bytes:
    """
    Return one row.

    Args:
        row_id: As `store.row_id.pack` gives it.
        time_us: Microseconds since 1970.
        heart_rate: Beats per minute.
        customer_id: Whatever UTF-8 can say.
    """
    customer = customer_id.encode()
    return _fields(4, 8, row_id, 8, time_us - Y2000_US, 4, heart_rate, len(customer)) + customer


def block(rows: Iterable[bytes]) -> bytes:
    """Return what COPY reads, for these rows."""
    return b"".join([_START, *rows, _END])
