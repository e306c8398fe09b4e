"""Every kind of field arrives in PostgreSQL as it was sent; what PostgreSQL refuses, validation has refused."""

import pytest
from psycopg import errors, sql
from psycopg.types.json import set_json_loads

from common.event import MAX_FUTURE
from store.rows import Encode
from store.validation import Decode, Event
from tests.corpus.case import USUAL_MS
from tests.corpus.derived import Values, cases_of, values_of
from tests.corpus.everything import KEPT, TABLE
from tests.corpus.samples import read_json
from tests.pipeline import Database
from tests.unit.test_validation_fuzz import LONGEST, mutants

pytestmark = pytest.mark.integration

COPY = sql.SQL("COPY everything ({}) FROM STDIN (FORMAT binary)")
MUTANTS = 30_000


def stored(database: Database, events: list[Event]) -> list[Values]:
    """Copy them into a table of their own; the rows, in their order."""
    encode, decode = Encode(KEPT), Decode(KEPT, MAX_FUTURE)
    names = sql.SQL(", ").join(sql.Identifier(field.name) for field in KEPT.columns)
    columns = sql.SQL(", ").join(map(sql.Identifier, encode.columns_written))
    with database.connect() as connection:
        set_json_loads(read_json, connection)
        connection.execute("DROP TABLE IF EXISTS everything")
        connection.execute(TABLE)
        with connection.cursor().copy(COPY.format(columns)) as copy:
            copy.write(encode(range(len(events)), decode.columns_of(events)))
        return connection.execute(sql.SQL("SELECT {} FROM everything ORDER BY id").format(names)).fetchall()


def test_good_values_of_every_kind_are_stored_as_sent(database: Database) -> None:
    """The binary format has a layout for each kind; a wrong byte would be another value, or none."""
    decode = Decode(KEPT, MAX_FUTURE)
    cases = [case for case in cases_of(KEPT) if not isinstance(case.expected, str)]
    events = [event for case in cases if not isinstance(event := decode(case.payload, USUAL_MS), str)]

    assert stored(database, events) == [case.expected for case in cases]


def test_postgresql_accepts_every_mutant_that_validation_accepts(database: Database) -> None:
    """Otherwise a whole batch is written row by row until the rejected row is found."""
    decode = Decode(KEPT, MAX_FUTURE)
    seeds = [case.payload for case in cases_of(KEPT) if case.payload and len(case.payload) <= LONGEST]
    found = (decode(payload, USUAL_MS) for _, payload in zip(range(MUTANTS), mutants(seeds, seed=9), strict=False))
    events = [event for event in found if not isinstance(event, str)]

    assert len(events) > 500
    assert stored(database, events) == [values_of(KEPT, event) for event in events]


@pytest.mark.parametrize(
    ("text", "is_held"),
    [
        ("9" * 131_072, True),
        ("9" * 131_073, False),
        ("0." + "1" * 16_383, True),
        ("0." + "1" * 16_384, False),
        ("1e131071", True),
        ("1e131072", False),
        ("1e-16383", True),
        ("1e-16384", False),
        ("1e+00000000000000005", True),
        ("1.5e999999999999999999999", False),
        ('"\\u0000"', False),
        ('"\\ud83d"', False),
        ('{"\\ud83d\\ude00": "\\\\u0000"}', True),
    ],
)
def test_jsonb_holds_what_validation_accepts_and_nothing_else(database: Database, text: str, *, is_held: bool) -> None:
    """The limits are PostgreSQL's, taken from its manual: this is where they are true."""
    usual = cases_of(KEPT)[0]
    document = (usual.payload or b"").decode().rstrip("}")
    result = Decode(KEPT, MAX_FUTURE)(f'{document}, "body": {text}}}'.encode(), USUAL_MS)

    assert isinstance(result, str) != is_held
    with database.connect() as connection:
        if is_held:
            connection.execute("SELECT %s::jsonb", (text,))
        else:
            with pytest.raises(errors.DataError):
                connection.execute("SELECT %s::jsonb", (text,))
