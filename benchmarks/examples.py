"""
How fast the events of `examples/` are stored, against plain COPY of the same rows; and what `unique` costs.

Without duplicates, the orders are also stored by their contract without `unique`, into the same table.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from uuid import UUID

from benchmarks.drain import FLOOR, Run, arguments, collect, drain, dump, floor
from benchmarks.stack import Stack, stack
from examples.orders.contract import ORDERS
from examples.orders.producer import order
from examples.oxygen.producer import reading
from examples.trades.producer import trade
from producer.encoding import Messages

EXAMPLES: Final = Path(__file__).resolve().parents[1] / "examples"
BLOCK: Final = 10_000
ORDERS_ALL_STORED: Final = replace(ORDERS, unique=())


@dataclass(frozen=True)
class Example:
    """An event, and the contracts by which it is stored in turn."""

    table: str
    make: Callable[[str], bytes]  # from a key
    key: Callable[[int], str]
    contracts: tuple[str, ...]


ALL: Final = (
    Example("oxygen", reading, lambda number: f"person-{number % 1000}", ("examples.oxygen.contract:OXYGEN",)),
    Example(
        "trades",
        trade,
        lambda number: "".join("ABCDEFGHIJ"[int(digit)] for digit in f"{number % 1000:03}"),
        ("examples.trades.contract:TRADES",),
    ),
    Example(
        "orders",
        order,
        lambda number: str(UUID(int=number)),
        ("examples.orders.contract:ORDERS", "benchmarks.examples:ORDERS_ALL_STORED"),
    ),
)


def messages(example: Example, count: int) -> Iterator[Messages]:
    """Yield so many events."""
    keys = [example.key(number) for number in range(count)]
    for first in range(0, count, BLOCK):
        yield [{"key": key.encode(), "value": example.make(key)} for key in keys[first : first + BLOCK]]


def measure(running: Stack, example: Example, rows: int, rounds: int) -> Iterator[tuple[str, Run]]:
    """Yield floor and contracts in turn, round after round, without a first one for warming up."""
    running.connection.execute((EXAMPLES / example.table / f"{example.table}.sql").read_bytes())
    one = replace(running, table=example.table)
    one.make_topic(example.table, messages(example, rows))

    def drained(contract: str) -> Run:
        return drain(one, 1, rows, example.table, HEARTBEAT_EVENT__CONTRACT=contract)

    drained(example.contracts[0])
    blocks = dump(one)
    for _ in range(rounds):
        yield f"{example.table}: {FLOOR}", floor(one, blocks, rows)
        for contract in example.contracts:
            yield contract.partition(":")[2], drained(contract)


def main() -> None:
    """Measure and print."""
    given = arguments("examples", __doc__, 500_000, 5).parse_args()
    with stack() as running:
        for example in ALL:
            collect(measure(running, example, given.rows, given.rounds))


if __name__ == "__main__":
    main()
