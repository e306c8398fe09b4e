"""The metrics of both engines."""

from prometheus_client import Counter, Gauge

STORED = Counter("heartbeat_consumer_stored_total", "Events committed to PostgreSQL.")
REJECTED = Counter("heartbeat_consumer_rejected_total", "Messages quarantined, by reason.", ["reason"])
DUPLICATES = Counter(
    "heartbeat_consumer_duplicates_total", "Events not stored, since the table has them by their unique fields."
)
LAG = Gauge(
    "heartbeat_consumer_lag_records", "Messages in the assigned partitions that are not yet stored; NaN: unknown."
)
LAG_SECONDS = Gauge(
    "heartbeat_consumer_lag_seconds", "Age of the newest message stored, while others wait; otherwise 0."
)
FENCED = Counter("heartbeat_consumer_fenced_total", "Batches dropped because another consumer had stored them.")
RETRIES = Counter("heartbeat_consumer_retries_total", "Batches retried because a server was away.", ["server"])
EVENTS_DROPPED = Counter(
    "heartbeat_consumer_events_dropped_total", "Events of the pipeline that were dropped before they were written."
)
MAINTENANCE_FAILURES = Counter(
    "heartbeat_consumer_maintenance_failures_total", "Failed steps of maintenance.", ["step"]
)
MAINTAINED = Gauge(
    "heartbeat_consumer_maintenance_last_success_timestamp_seconds",
    "When this process last completed a step of maintenance, in seconds since 1970.",
    ["step"],
)
