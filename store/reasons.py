"""Why a message is no heartbeat: stable words, since people group the quarantine and replay it by them."""

from enum import StrEnum


class Reason(StrEnum):
    """Why a message is quarantined."""

    UNREADABLE_BATCH = "unreadable_batch"  # Kafka's client cannot unpack the batch: there is no payload to judge
    EVENT_TOO_LARGE = "event_too_large"
    TOMBSTONE = "tombstone"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NESTED_TOO_DEEP = "nested_too_deep"
    NOT_AN_OBJECT = "not_an_object"
    CUSTOMER_ID_MISSING = "customer_id_missing"
    CUSTOMER_ID_NOT_A_STRING = "customer_id_not_a_string"
    CUSTOMER_ID_LENGTH = "customer_id_length"
    CUSTOMER_ID_CHARACTERS = "customer_id_characters"
    TIMESTAMP_MISSING = "timestamp_missing"
    TIMESTAMP_NOT_A_STRING = "timestamp_not_a_string"
    TIMESTAMP_NOT_RFC3339 = "timestamp_not_rfc3339"
    TIMESTAMP_YEAR = "timestamp_year"
    TIMESTAMP_FUTURE = "timestamp_future"
    HEART_RATE_MISSING = "heart_rate_missing"
    HEART_RATE_NOT_AN_INTEGER = "heart_rate_not_an_integer"
    HEART_RATE_RANGE = "heart_rate_range"
    UNKNOWN_FIELD = "unknown_field"
    REFUSED = "refused_by_postgresql"  # validation allowed it, the database did not


class NotAHeartbeatError(Exception):
    """A message is no heartbeat, for this reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


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
