"""
A row id: the topic's generation (7 bits), the partition (16) and the offset (40).

SQL packs and unpacks it by kafka_place_id() and kafka_place(), whose names stay because users call them. Rows inserted
by hand have generation 0.
"""

from typing import Final

LAST_GENERATION: Final = 127
LAST_OFFSET: Final = (1 << 40) - 1


def pack(generation: int, partition: int, offset: int) -> int:
    """Return the id of the row that is made from this record."""
    return generation << 56 | partition << 40 | offset


def unpack(row_id: int) -> tuple[int, int, int]:
    """Return generation, partition and offset, as kafka_place() in SQL."""
    return row_id >> 56, row_id >> 40 & 65535, row_id & LAST_OFFSET
