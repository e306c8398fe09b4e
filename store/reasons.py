"""
Why a message is no event: stable words, since people group the quarantine and replay it by them.

A field's faults are `<field>_<fault>`: `missing`, those that its kind in `store/kinds.py` names, and for the event's
time `future`.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a message is quarantined, if not for one of its fields."""

    UNREADABLE_BATCH = "unreadable_batch"  # Kafka's client cannot unpack the batch: there is no payload to judge
    EVENT_TOO_LARGE = "event_too_large"
    TOMBSTONE = "tombstone"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NESTED_TOO_DEEP = "nested_too_deep"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_FIELD = "unknown_field"  # where the contract refuses them
    REFUSED = "refused_by_postgresql"  # validation allowed it, the database did not


class FaultError(Exception):
    """A field's value is none of its kind; `fault` ends the reason that begins with the field's name."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.fault = fault


class NotAnEventError(Exception):
    """A message is no event of its contract, for this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
