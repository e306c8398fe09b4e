"""Good and hostile values of each kind of field, as they stand in JSON, and what becomes of them."""

import json
import math
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Final
from uuid import UUID

from hypothesis import find
from hypothesis import strategies as st

from contracts.fields import AnyField, Boolean, Float, Integer, IntegerArray, Json, Text, Timestamp, Uuid
from tests.corpus.case import DIGITS, INSTANT, TIME
from tests.corpus.fields import BAD_CUSTOMERS, BAD_RATES, GOOD_CUSTOMERS
from tests.corpus.timestamps import GOOD as GOOD_TIMES
from tests.corpus.timestamps import NO_SUCH_YEAR, NOT_A_STRING, NOT_RFC3339

ASTRAL: Final = "\N{GRINNING FACE}"
SOME_UUID: Final = "0b9e3c1a-5f0e-4d2b-8c77-1f2e3d4c5b6a"


# PostgreSQL keeps each digit of a number in jsonb, so comparing floats would be too little, or too much.
read_json = partial(json.loads, parse_float=Decimal, parse_int=Decimal)


@dataclass
class Samples:
    """JSON texts of one field: the good ones with the value that psycopg reads back, the bad ones with the fault."""

    good: dict[str, Any] = field(default_factory=dict)  # the first one is the usual one
    bad: dict[str, str] = field(default_factory=dict)


def samples_of(declared: AnyField) -> Samples:  # noqa: PLR0911 - one for each kind
    """Derive them from a declaration."""
    match declared:
        case Text():
            return _texts(declared)
        case Integer():
            return _integers(declared)
        case IntegerArray():
            return _arrays(declared)
        case Float():
            return _floats(declared)
        case Timestamp():
            bad = {f'"{text}"': "year" for text in NO_SUCH_YEAR} | {f'"{text}"': "not_rfc3339" for text in NOT_RFC3339}
            good: dict[str, datetime] = {f'"{TIME}"': INSTANT} | {f'"{text}"': at for text, at in GOOD_TIMES.items()}
            return Samples(good, bad | dict.fromkeys(NOT_A_STRING, "not_a_string"))
        case Boolean():
            bad = dict.fromkeys(["0", "1", '"true"', '""', "[true]", "{}", "1.0"], "not_a_boolean")
            return Samples({"true": True, "false": False}, bad)
        case Uuid():
            return _uuids()
        case Json():
            return _jsons()


def _texts(declared: Text) -> Samples:
    longest, shortest = declared.max_characters or 200, declared.min_characters
    found = Samples()
    if declared.choices:
        found.good = {json.dumps(choice): choice for choice in declared.choices}
        found.bad = {
            json.dumps(choice + "x"): "choice" if len(choice) < longest else "length" for choice in declared.choices
        }
    elif declared.pattern is None:
        texts = {"x" * max(shortest, 1): "x" * max(shortest, 1), ASTRAL * longest: ASTRAL * longest, **GOOD_CUSTOMERS}
        found.good = {f'"{text}"': held for text, held in texts.items() if shortest <= len(held) <= longest}
        found.bad = {'"' + "\\u0000" * max(shortest, 1) + '"': "characters"}
    else:
        fitting = find(st.from_regex(declared.pattern, fullmatch=True), lambda text: shortest <= len(text) <= longest)
        found.good = {json.dumps(fitting): fitting}
        found.bad = {json.dumps(fitting + end): "pattern" for end in ("\n", "\N{FULLWIDTH DIGIT SEVEN}")}
    if shortest:
        found.bad['""'] = "length"
    if declared.max_characters is not None:
        found.bad |= {f'"{"x" * (longest + 1)}"': "length", f'"{ASTRAL * (longest + 1)}"': "length"}
    others = (text for text, reason in BAD_CUSTOMERS.values() if reason.endswith("not_a_string"))
    found.bad |= {'"\\ud800"': "characters", **dict.fromkeys(others, "not_a_string")}
    return found


def _integers(declared: Integer) -> Samples:
    low, high = declared.lowest, declared.highest
    found = Samples({f"{number}": number for number in (low, high, (low + high) // 2)})
    for text in (f"{low - 1}", f"{high + 1}", f"{2**64}", f"{-(2**63) - 1}", "9" * DIGITS, f"-{'9' * 21}"):
        found.bad[text] = "range"
    for text, reason in BAD_RATES.items():
        if reason.endswith("not_an_integer"):
            found.bad[text] = "not_an_integer"
    return found


def _arrays(declared: IntegerArray) -> Samples:
    low, high, most = declared.lowest, declared.highest, declared.max_elements
    found = Samples({f"[{low}, {high}]": [low, high], "[]": [], f"[{low}]": [low]})
    found.good[json.dumps([high] * most)] = [high] * most
    found.bad = {
        json.dumps([high] * (most + 1)): "length",
        f"[{low - 1}]": "range",
        f"[{low}, {high + 1}]": "range",
        f"[{'9' * DIGITS}]": "range",
        **dict.fromkeys([f"[{low}, null]", f"[{low}.0]", '["1"]', "[true]", f"[[{low}]]"], "not_an_integer"),
        **dict.fromkeys(["true", "1", '"[]"', "{}"], "not_an_array"),
    }
    return found


def _floats(declared: Float) -> Samples:
    low = -1e308 if declared.minimum is None else declared.minimum
    high = 1e308 if declared.maximum is None else declared.maximum
    middle = low / 2 + high / 2
    found = Samples({repr(number): number for number in (middle, low, high)})
    texts = ("0", "-0.0", "1", "97.3", "1e-400", "4.9e-324", "0.1000000000000000055511151231257827", "9" * 30, "5E+1")
    found.good |= {text: float(text) for text in (*texts, "0." + "3" * DIGITS) if low <= float(text) <= high}
    found.bad = dict.fromkeys(["1e999", "-1e400", "9" * 400, "-" + "9" * DIGITS], "range")
    if declared.minimum is not None:
        found.bad[repr(math.nextafter(low, -math.inf))] = "range"
    if declared.maximum is not None:
        found.bad[repr(math.nextafter(high, math.inf))] = "range"
    return Samples(found.good, found.bad | dict.fromkeys(["true", '"1"', '"NaN"', "[1]", "{}", '""'], "not_a_number"))


def _uuids() -> Samples:
    good = {f'"{text}"': UUID(text) for text in (SOME_UUID, SOME_UUID.upper(), "0" * 8 + "-0000" * 3 + "-" + "0" * 12)}
    bad = dict.fromkeys(
        [
            '""',
            f'"{SOME_UUID.replace("-", "")}"',
            f'"{{{SOME_UUID}}}"',
            f'"urn:uuid:{SOME_UUID}"',
            f'"{SOME_UUID}\\n"',
            f'" {SOME_UUID}"',
            f'"{SOME_UUID[:-1]}g"',
            f'"{SOME_UUID[:-1]}"',
            f'"{SOME_UUID[:-1]}\N{FULLWIDTH DIGIT SEVEN}"',
            f'"{SOME_UUID[:-1]}\\u0000"',
            '"\\ud800"',
        ],
        "not_a_uuid",
    )
    return Samples(good, bad | dict.fromkeys(["1", "true", "[]", "{}"], "not_a_string"))


def _jsons() -> Samples:
    texts = (
        '{"a": 1}', "{}", "[]", "0", "true", '""', '"null"', "[null]", ' \t[ 1,\n{"a" :2 } ]\r', '"\\ud83d\\ude00"',
        '{"a": 1, "a": 2}', "-0.5e-3", "1e300", '"\\\\u0000"', '"\\\\ud800"', '{"\\u0041": "\\n"}', "[1.10, 1e2]",
        '"1e9999"', f'"{"x" * 70_000}"', '"a\\\\\\""', "[[[[[[[[]]]]]]]]", "123456789012345678901234567890",
        f'"{ASTRAL}"', '"}"', '"1e-99999"',
    )  # fmt: skip
    bad = {
        **dict.fromkeys(
            ['"\\u0000"', '{"\\u0000": 1}', '["a\\\\\\u0000"]', '"\\ud800"', '{"a": "\\udc00"}'], "characters"
        ),
        '{"a": "\\ud800", "a": 1}': "characters",
        **dict.fromkeys(["1e999999", "[1e-99999]", '{"a": 1e200000}', "9" * 140_000, "0." + "1" * 17_000], "range"),
    }
    return Samples({text: read_json(text) for text in texts}, bad)
