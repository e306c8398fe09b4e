"""The table as the peers fill it: they leave `id` to its default, a sequence, which tells how far they are."""

from typing import Final

from benchmarks.stack import Stack

START_OVER: Final = "SELECT setval('heartbeats_by_hand_id', 1, false)"
ATTEMPTED: Final = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM heartbeats_by_hand_id"
STORED: Final = "SELECT count(*) FROM heartbeats"
DIFFERENT: Final = 'SELECT count(DISTINCT (customer_id, "timestamp")) FROM heartbeats'
REPEATED: Final = 'SELECT count(*) - count(DISTINCT (customer_id, "timestamp")) FROM heartbeats'


def empty(running: Stack) -> None:
    """Empty all tables, and count ids from 1 again."""
    running.empty()
    running.connection.execute(START_OVER)


def attempted(running: Stack) -> int:
    """Return how many rows a peer has inserted, committed or not; it reads no table, so it may be asked often."""
    return _number(running, ATTEMPTED)


def stored(running: Stack) -> int:
    """Return how many rows there are."""
    return _number(running, STORED)


def different(running: Stack) -> int:
    """Return how many rows there are, repetitions left out."""
    return _number(running, DIFFERENT)


def repeated(running: Stack) -> int:
    """Return how many rows are repetitions."""
    return _number(running, REPEATED)


def _number(running: Stack, statement: str) -> int:
    row = running.connection.execute(statement).fetchone()
    return int(row[0]) if row else 0
