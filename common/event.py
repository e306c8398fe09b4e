"""
The event contract: one heart rate of one customer, as JSON in Kafka.

The producer, the validation and the tests take the limits from here. A test keeps `docs/event.schema.json` equal to
`json_schema()`.
"""

from datetime import timedelta
from typing import Any, Final

CUSTOMER_ID_MAX_CHARACTERS: Final = 64  # as in the CHECK of db/schema.sql
HEART_RATE_MIN_BPM: Final = 1  # as in the CHECK of db/schema.sql
HEART_RATE_MAX_BPM: Final = 300
# An adult's at rest, as the American Heart Association has it; SQL and dashboards repeat it, and a test compares them.
NORMAL_BPM: Final = range(60, 101)
GENERATED_BPM: Final = range(50, 121)  # the producer's
MAX_FUTURE: Final = timedelta(minutes=5)  # how far senders' clocks may run ahead of the broker's; a setting's default
# Of one payload. Arbitrary, and far above any event: a compressed batch of 256 KiB may unpack to a payload of 270 MB.
MAX_EVENT_BYTES: Final = 16 * 1024**2
# Objects and arrays inside each other, with the event itself; arbitrary, and below the limit of every parser.
MAX_NESTING: Final = 201

# RFC 3339, section 5.6, with `T` and `Z` in upper case, without leap seconds. [0-9], for \d matches other scripts.
TIMESTAMP_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
)
CUSTOMER_ID_PATTERN: Final = r"^[^\u0000]*$"  # PostgreSQL's text cannot hold NUL, though JSON can


def customer_id(number: int) -> str:
    """Return the id of customer `number` (from 1): `CUST-000001`. Numbers of more than six digits make it longer."""
    return f"CUST-{number:06d}"


def json_schema() -> dict[str, Any]:
    """Return a valid event's JSON Schema (draft 2020-12). It cannot express the rules of calendar and clock."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Heartbeat",
        "description": (
            "One heart rate of one customer, at most 16 MiB. Kafka key: customer_id. Further fields are ignored."
        ),
        "type": "object",
        "required": ["customer_id", "timestamp", "heart_rate"],
        "properties": {
            "customer_id": {
                "type": "string",
                "minLength": 1,
                "maxLength": CUSTOMER_ID_MAX_CHARACTERS,
                "pattern": CUSTOMER_ID_PATTERN,
            },
            "timestamp": {
                "type": "string",
                "format": "date-time",
                "pattern": TIMESTAMP_PATTERN,
                "description": "UTC value within the years 1 to 9999, at most 5 minutes after the broker's own time.",
            },
            "heart_rate": {
                "type": "integer",
                "minimum": HEART_RATE_MIN_BPM,
                "maximum": HEART_RATE_MAX_BPM,
                "description": "Beats per minute, written without fraction or exponent.",
            },
        },
    }
