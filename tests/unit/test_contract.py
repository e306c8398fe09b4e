"""A declaration is checked where it is made, and says what a JSON Schema can say."""

import json
import math
from dataclasses import replace
from typing import Any, Final

import pytest
from jsonschema import Draft202012Validator

from common.errors import ConfigError
from common.settings import Event
from contracts.contract import Contract, Unknown
from contracts.fields import AnyField, Boolean, Float, Integer, IntegerArray, Text, Timestamp, Uuid
from contracts.heartbeats import HEARTBEATS
from contracts.json_schema import json_schema
from contracts.load import contract_of
from tests.corpus.derived import DerivedCase, cases_of
from tests.corpus.everything import CLOSED, EVERYTHING, KEPT

# What a schema cannot say: calendar, clock, that 72.0 is no whole number, and what PostgreSQL cannot hold. And to
# Python, which checks the schema here, `$` matches before a line end, too.
BEYOND_A_SCHEMA: Final = (
    "_not_rfc3339",
    "_year",
    "_future",
    "_not_an_integer",
    "_characters",
    "_range",
    "_pattern",
    "_not_a_uuid",
)


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"table": "Heartbeats"}, "the name 'Heartbeats' must have"),
        ({"table": "heartbeats; DROP TABLE x"}, "must have at most 40 lower case letters"),
        ({"table": "x" * 41}, "at most 40"),
        ({"fields": (*HEARTBEATS.fields, Boolean("id"))}, "two columns have the name id"),
        ({"fields": (*HEARTBEATS.fields, Boolean("heart_rate"))}, "two columns have the name heart_rate"),
        ({"keep_unknown_in": "heart_rate"}, "two columns have the name heart_rate"),
        ({"keep_unknown_in": "more", "unknown": Unknown.REFUSED}, "cannot be both kept and refused"),
        ({"key": "customer"}, "the key customer must be one of its fields"),
        ({"key": "timestamp"}, "the key timestamp must be one of its fields"),
        ({"time": "heart_rate"}, "the time heart_rate must be one of its fields"),
        (
            {"fields": (Text("customer_id"), Timestamp("timestamp", nullable=True))},
            "the time timestamp must be one of its fields, not nullable",
        ),
        ({"maintained": False}, "the table heartbeats must be maintained"),
        ({"table": "orders"}, "and no other can be"),
        ({"unique": ("customer_id", "timestamp")}, "a maintained table cannot have unique fields"),
        ({"maintained": False, "unique": ("customer",)}, "each unique field must be one of its fields"),
        ({"maintained": False, "unique": ("customer_id", "customer_id")}, "named once"),
        (
            {"maintained": False, "unique": ("more",), "fields": (*HEARTBEATS.fields, Integer("more", nullable=True))},
            "not nullable",
        ),
        (
            {"maintained": False, "unique": ("more",), "fields": (*HEARTBEATS.fields, Text("more"))},
            "must be set, and add up to at most 600",
        ),
    ],
)
def test_declaration_that_contradicts_itself_is_refused_in_one_line(changed: dict[str, Any], fault: str) -> None:
    """Found at the start, by name; found later, it would be a table full of refused rows."""
    with pytest.raises(ConfigError, match=fault) as caught:
        replace(HEARTBEATS, **changed)

    assert "\n" not in caught.value.message
    assert caught.value.hint.endswith(".")


@pytest.mark.parametrize(
    ("field", "fault"),
    [
        (Integer("x", size=3), "size must be 2, 4 or 8 bytes"),
        (Integer("x", size=2, maximum=40_000), "wider than 2 bytes"),
        (Integer("x", minimum=5, maximum=4), "is empty"),
        (IntegerArray("x", size=8, minimum=-(2**63) - 1), "wider than 8 bytes"),
        (IntegerArray("x", max_elements=0), "max_elements must be at least 1"),
        (Text("x", min_characters=5, max_characters=4), "its length 5 to 4 is negative or empty"),
        (Text("x", min_characters=0, max_characters=0), "its length 0 to 0 is negative or empty"),
        (Float("x", minimum=5, maximum=4), "its range 5 to 4 is empty"),
        (Float("x", minimum=math.nan), "or not finite"),
        (Float("x", maximum=math.inf), "or not finite"),
        (Text("x", choices=("a", "a")), "two choices are equal"),
        (Text("x", pattern="("), "its pattern is no regular expression"),
    ],
)
def test_field_that_no_value_fits_is_refused(field: AnyField, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        replace(HEARTBEATS, fields=(*HEARTBEATS.fields, field))


@pytest.mark.parametrize("contract", [HEARTBEATS, EVERYTHING, CLOSED, KEPT])
def test_schema_and_validation_agree_as_far_as_a_schema_can(contract: Contract) -> None:
    """A sender who checks against the schema is not refused for what a schema could have told."""
    schema = json_schema(contract)
    Draft202012Validator.check_schema(schema)
    fits = Draft202012Validator(schema).is_valid
    for case in cases_of(contract):
        if not _is_json(case):
            continue
        document = json.loads(case.payload or b"", parse_int=_read_integer)
        if isinstance(case.expected, str):
            assert case.expected.endswith(BEYOND_A_SCHEMA) or not fits(document), case.name
        else:
            assert fits(document), case.name


def test_key_may_be_a_uuid() -> None:
    fields = (Uuid("device"), Timestamp("at"))

    assert Contract(title="A", description="A", table="a", key="device", time="at", fields=fields).time_column == 1


def _is_json(case: DerivedCase) -> bool:
    try:
        json.loads((case.payload or b"").decode(), parse_int=float)
    except (ValueError, RecursionError):
        return False
    return case.expected not in ("nested_too_deep", "not_json")


def _read_integer(digits: str) -> int:
    return int(digits[:30])


@pytest.mark.parametrize("setting", ["contracts.heartbeats:NITROGEN", "contracts.nitrogen:NITROGEN", "json:dumps"])
def test_setting_that_names_no_contract_is_told_in_one_line(setting: str) -> None:
    with pytest.raises(ConfigError, match=r"event.contract: there is no contract (NITROGEN|dumps) in (contracts|json)"):
        contract_of(Event(contract=setting))
