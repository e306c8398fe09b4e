"""There is one contract: the schema in docs/, the tables and validation say the same."""

import json
import re
from pathlib import Path
from typing import Final

import pytest
from jsonschema import Draft202012Validator

from common.event import NORMAL_BPM, customer_id
from contracts.heartbeats import HEARTBEATS
from contracts.json_schema import json_schema
from tests.corpus.case import CUSTOMER_ID_MAX_CHARACTERS, HEART_RATE_MAX_BPM, HEART_RATE_MIN_BPM, Case
from tests.corpus.hostile import CASES

SCHEMA: Final = json_schema(HEARTBEATS)
ROOT: Final = Path(__file__).parents[2]
# What a schema cannot say: the calendar and the clock, that 72.0 is no whole number, and which characters are none.
BEYOND_A_SCHEMA: Final = {
    "timestamp_not_rfc3339",
    "timestamp_year",
    "timestamp_future",
    "heart_rate_not_an_integer",
    "customer_id_characters",
}


def _refuse(_name: str) -> None:
    raise ValueError


def _is_json(case: Case) -> bool:
    try:
        json.loads((case.payload or b"").decode(), parse_constant=_refuse, parse_int=float)
    except (ValueError, RecursionError):
        return False
    return case.expected != "nested_too_deep"


@pytest.mark.parametrize(
    ("number", "name"), [(1, "CUST-000001"), (999_999, "CUST-999999"), (1_000_000, "CUST-1000000")]
)
def test_customers_are_named_by_number(number: int, name: str) -> None:
    """People's queries and the patients' view read the number out of the name."""
    assert customer_id(number) == name


def test_schema_in_docs_is_the_codes_own() -> None:
    """
    Authors of senders read docs/event.schema.json, which must hold the current limits.

    To write it anew: `python -c "import json; from contracts.json_schema import json_schema;
    from contracts.heartbeats import HEARTBEATS;
    print(json.dumps(json_schema(HEARTBEATS), indent=2))" > docs/event.schema.json`
    """
    text = (ROOT / "docs" / "event.schema.json").read_text(encoding="utf-8")

    assert text == json.dumps(SCHEMA, indent=2) + "\n"
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("case", [case for case in CASES if _is_json(case)], ids=lambda case: case.name)
def test_schema_and_validation_agree_as_far_as_a_schema_can(case: Case) -> None:
    """A sender who checks against the schema is not refused for what a schema could have told."""
    document = json.loads((case.payload or b"").decode(), parse_int=lambda digits: int(digits[:30]))
    fits = Draft202012Validator(SCHEMA).is_valid(document)

    if isinstance(case.expected, str):
        assert not fits or case.expected in BEYOND_A_SCHEMA
    else:
        assert fits


def test_tables_have_the_same_limits() -> None:
    """A limit that the table draws closer than the contract turns good messages away."""
    schema = (ROOT / "db" / "schema.sql").read_text(encoding="utf-8")
    characters = re.findall(r"CHECK \(char_length\(customer_id\) BETWEEN (\d+) AND (\d+)\)", schema)
    rates = re.findall(r"CHECK \(heart_rate BETWEEN (\d+) AND (\d+)\)", schema)

    assert characters == [("1", str(CUSTOMER_ID_MAX_CHARACTERS))]
    assert rates == [(str(HEART_RATE_MIN_BPM), str(HEART_RATE_MAX_BPM))]


@pytest.mark.parametrize(
    "file",
    [path for kind in ("db/*.sql", "grafana/dashboards/*.json") for path in sorted(ROOT.glob(kind))],
    ids=lambda file: file.name,
)
def test_sql_and_dashboards_have_the_same_normal_heart_rates(file: Path) -> None:
    """A reading that one panel counts as normal and another as high makes people doubt both."""
    text = file.read_text(encoding="utf-8")
    compared = set(re.findall(r"\b(?:heart_rate|bpm) (<|<=|>) (\d+)", text))
    bands = set(re.findall(r"(?:heart_rate|bpm) (?:NOT )?BETWEEN (\d\d+) AND (\d+)", text))
    first, last = str(NORMAL_BPM[0]), str(NORMAL_BPM[-1])

    assert compared <= {("<", first), ("<=", last), (">", last)}
    assert bands <= {(first, last)}
    assert compared or file.name != "heartbeats.json"
