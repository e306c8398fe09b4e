"""Limits of every event, and what the producer of heartbeats needs; `contracts/` has the fields."""

from datetime import timedelta
from typing import Final

# Of an adult at rest. Source: American Heart Association. SQL and dashboards repeat it, and a test compares them.
NORMAL_BPM: Final = range(60, 101)
GENERATED_BPM: Final = range(50, 121)  # the producer's
MAX_FUTURE: Final = timedelta(minutes=5)  # how far senders' clocks may run ahead of the broker's; a setting's default
# Of one payload. Arbitrary, far above any real event: a compressed batch of 256 KiB may unpack to a payload of 270 MB.
MAX_EVENT_BYTES: Final = 16 * 1024**2
# Levels of nested objects and arrays, including the event itself; arbitrary, and below the limit of every parser.
MAX_NESTING: Final = 201

# RFC 3339, section 5.6, with `T` and `Z` in upper case, without leap seconds. [0-9], for \d matches other scripts.
TIMESTAMP_PATTERN: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$"
)


def customer_id(number: int) -> str:
    """Return the id of customer `number` (from 1): `CUST-000001`. Numbers of more than six digits make it longer."""
    return f"CUST-{number:06d}"
