"""Valid events of any contract, and what a consumer needs to store them in a test's database."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from psycopg import sql
from psycopg.types.json import set_json_loads

from contracts.contract import Contract
from contracts.heartbeats import HEARTBEATS
from examples.orders.contract import ORDERS
from examples.oxygen.contract import OXYGEN
from examples.trades.contract import TRADES
from tests.corpus.derived import Values, write
from tests.corpus.samples import read_json, samples_of
from tests.pipeline import Database

EXAMPLES: Final = (ORDERS, OXYGEN, TRADES)
FOLDER: Final = Path(__file__).parents[1] / "examples"


def prepare(database: Database, contract: Contract) -> dict[str, str]:
    """Create the table of an example's contract as its README does; return the setting that names the contract."""
    if contract is HEARTBEATS:
        return {}
    name = contract.table
    database.query((FOLDER / name / f"{name}.sql").read_text(encoding="utf-8"))
    return {"HEARTBEAT_EVENT__CONTRACT": f"examples.{name}.contract:{name.upper()}"}


def events_of(contract: Contract, count: int) -> list[tuple[bytes, Values]]:
    """
    Make valid events, each with its row, oldest first.

    Each has its own time and, if the contract has `unique` fields, its own key. Other fields take samples in turn.
    """
    first = datetime.now(UTC) - timedelta(minutes=1)
    samples = [
        [("null", None)] * field.nullable + list(samples_of(field).good.items())[:4] for field in contract.fields
    ]
    found = []
    for number in range(count):
        time = first + timedelta(microseconds=17 * number)
        chosen = [of_field[number % len(of_field)] for of_field in samples]
        chosen[contract.time_column] = (f'"{time.isoformat()}"', time)
        names = [field.name for field in contract.fields]
        if contract.unique:
            chosen[names.index(contract.key)] = (f'"{number}"', str(number))
        payload = write({name: text for name, (text, _) in zip(names, chosen, strict=True)})
        kept: Values = () if contract.keep_unknown_in is None else ({},)
        found.append((payload, (*(value for _, value in chosen), *kept)))
    return found


def rows(database: Database, contract: Contract) -> list[Values]:
    """Return the stored rows in the order of their ids."""
    names = sql.SQL(", ").join(sql.Identifier(field.name) for field in contract.columns)
    with database.connect() as connection:
        set_json_loads(read_json, connection)  # as the samples: each digit counts
        statement = sql.SQL("SELECT {} FROM {} ORDER BY id").format(names, sql.Identifier(contract.table))
        return connection.execute(statement).fetchall()


def rows_by_time(database: Database, contract: Contract) -> list[Values]:
    """Return the stored rows in the order of `events_of`, whatever partitions they came from."""
    return sorted(rows(database, contract), key=lambda row: row[contract.time_column])
