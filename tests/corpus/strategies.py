"""Hypothesis strategies: JSON of any kind, and the valid events of any contract in the many ways that JSON has."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from hypothesis import strategies as st

from contracts.contract import Contract
from contracts.fields import AnyField, Boolean, Float, Integer, IntegerArray, Json, Text, Timestamp, Uuid
from tests.corpus import timestamps
from tests.corpus.derived import Values

Draw = Callable[[st.SearchStrategy[Any]], Any]

FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
INSTANTS: Final = st.datetimes(  # a day from either end, so that any zone can say them
    (FIRST + timedelta(days=1)).replace(tzinfo=None), timestamps.LATEST.replace(tzinfo=None), timezones=st.just(UTC)
)


def json_of(characters: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Return JSON values with strings of these characters, and numbers of any size."""
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    return st.recursive(
        plain | st.text(characters),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(characters), inner, max_size=4),
        max_leaves=12,
    )


STORABLE: Final = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
VALUES: Final = json_of(st.characters())  # as others might write them: lone surrogates, too


@st.composite
def spelt(draw: Draw, instant: datetime) -> str:
    """Write an instant as one of the many texts that RFC 3339 has for it, its fraction with up to 12 digits."""
    fraction = f".{instant.microsecond:06d}{draw(st.text('0123456789', max_size=6))}"
    if draw(st.booleans()) and not fraction.strip(".0"):
        fraction = ""
    offset_min = draw(st.integers(-1439, 1439))
    local = instant.replace(tzinfo=None, microsecond=0) + timedelta(minutes=offset_min)
    zone = f"{'-' if offset_min < 0 else '+'}{abs(offset_min) // 60:02d}:{abs(offset_min) % 60:02d}"
    if offset_min == 0:
        zone = draw(st.sampled_from(["Z", "+00:00", "-00:00"]))
    return f"{local.isoformat()}{fraction}{zone}"


@st.composite
def written(draw: Draw, contract: Contract, values: Values) -> bytes:
    """Write an event of these values: fields in any order, white space, escapes; NULL by null or by nothing."""
    known = {field.name: value for field, value in zip(contract.fields, values, strict=True)}
    names = [name for name, value in known.items() if value is not None or draw(st.booleans())]
    found = {name: known[name] for name in names}
    for name, value in found.items():
        if isinstance(value, datetime):
            found[name] = draw(spelt(value))
        elif isinstance(value, UUID):
            found[name] = str(value)
    further = draw(st.dictionaries(st.text(st.characters()).filter(lambda key: key not in known), VALUES, max_size=3))
    shuffled = {**further, **{name: found[name] for name in draw(st.permutations(names))}}
    return json.dumps(shuffled, indent=draw(st.sampled_from([None, 0, 2])), ensure_ascii=True).encode()


def values_of(contract: Contract) -> st.SearchStrategy[Values]:
    """Return the values of valid events, as psycopg would read them."""
    return st.tuples(*(_values(field) | st.none() if field.nullable else _values(field) for field in contract.fields))


def _values(field: AnyField) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one for each kind
    match field:
        case Text():
            return _texts(field)
        case Integer():
            return st.integers(field.lowest, field.highest)
        case IntegerArray():
            return st.lists(st.integers(field.lowest, field.highest), max_size=min(field.max_elements, 20))
        case Float():
            return st.floats(field.minimum, field.maximum, allow_nan=False, allow_infinity=False)
        case Boolean():
            return st.booleans()
        case Timestamp():
            return INSTANTS
        case Uuid():
            return st.uuids()
        case Json():
            return json_of(STORABLE).filter(lambda value: value is not None)


def _texts(field: Text) -> st.SearchStrategy[str]:
    if field.choices:
        return st.sampled_from(field.choices)
    if field.pattern is not None:
        return st.from_regex(field.pattern, fullmatch=True)
    return st.text(STORABLE, min_size=field.min_characters, max_size=field.max_characters)
