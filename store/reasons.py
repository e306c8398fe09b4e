"""
Reasons for quarantine. They are stable, because people group and replay the quarantine by them.

The reason for a field's fault is `<field>_<fault>`. Faults are `missing`, those of its kind in `store/kinds.py`, and
for the time of the event `future`.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Reasons that concern no single field."""

    UNREADABLE_BATCH = "unreadable_batch"  # Kafka's client cannot unpack the batch: there is no payload to validate
    EVENT_TOO_LARGE = "event_too_large"
    TOMBSTONE = "tombstone"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NESTED_TOO_DEEP = "nested_too_deep"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_FIELD = "unknown_field"  # if the contract refuses unknown fields
    REFUSED = "refused_by_postgresql"  # validation accepted it, the database did not


class FaultError(Exception):
    """A field's value is invalid; the reason is the field's name and `fault`."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


class NotAnEventError(Exception):
    """A message is not valid by its contract; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
