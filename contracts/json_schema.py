"""Writes a contract as JSON Schema, for authors of producers; `docs/event.schema.json` is that of heartbeats."""

from typing import Any, Final

from common.event import MAX_EVENT_BYTES, MAX_FUTURE, TIMESTAMP_PATTERN
from contracts.contract import Contract, Unknown
from contracts.fields import AnyField, Boolean, Float, Integer, IntegerArray, Json, Text, Timestamp, Uuid

NO_NUL: Final = r"^[^\u0000]*$"  # JSON allows NUL; PostgreSQL's text does not
UUID_PATTERN: Final = r"^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"


def json_schema(contract: Contract) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a valid event. A schema cannot check the calendar and the clock."""
    others = "kept" if contract.keep_unknown_in else contract.unknown.value
    found: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": contract.title,
        "description": (
            f"{contract.description}, at most {MAX_EVENT_BYTES // 1024**2} MiB. Kafka key: {contract.key}."
            f" Further fields are {others}."
        ),
        "type": "object",
        "required": [field.name for field in contract.fields if not field.nullable],
        "properties": {field.name: _property(field, contract) for field in contract.fields},
    }
    if contract.unknown is Unknown.REFUSED:
        found["additionalProperties"] = False
    return found


def _property(field: AnyField, contract: Contract) -> dict[str, Any]:
    found, beyond = _kind(field)
    words = [word for word in (field.description, beyond) if word]
    if field.name == contract.time:
        words.append(f"at most {MAX_FUTURE.total_seconds() / 60:.0f} minutes after the broker's own time")
    if words:
        found["description"] = f"{', '.join(words)}."
    return {"anyOf": [found, {"type": "null"}]} if field.nullable else found


def _kind(field: AnyField) -> tuple[dict[str, Any], str]:
    """Return a field's schema, and a description of what a schema cannot express."""
    found: dict[str, Any]
    beyond = ""
    match field:
        case Text():
            longest = {} if field.max_characters is None else {"maxLength": field.max_characters}
            found = {"type": "string", "minLength": field.min_characters, **longest}
            found["pattern"] = NO_NUL if field.pattern is None else f"^(?:{field.pattern})$"
            if field.choices:
                found["enum"] = list(field.choices)
        case Timestamp():
            found = {"type": "string", "format": "date-time", "pattern": TIMESTAMP_PATTERN}
            beyond = "UTC value within the years 1 to 9999"
        case Integer():
            found = {"type": "integer", "minimum": field.lowest, "maximum": field.highest}
            beyond = "written without fraction or exponent"
        case IntegerArray():
            numbers = {"type": "integer", "minimum": field.lowest, "maximum": field.highest}
            found = {"type": "array", "maxItems": field.max_elements, "items": numbers}
        case Float():
            limits = {"minimum": field.minimum, "maximum": field.maximum}
            found = {"type": "number", **{name: limit for name, limit in limits.items() if limit is not None}}
        case Uuid():
            found = {"type": "string", "format": "uuid", "pattern": UUID_PATTERN}
        case Boolean():
            found = {"type": "boolean"}
        case Json():
            found = {"not": {"type": "null"}}
    return found, beyond
