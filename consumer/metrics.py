"""Metrics that only the plain consumer has; `store/metrics.py` has those of both engines."""

from prometheus_client import Counter, Histogram

BATCH_ROWS = Histogram(
    "heartbeat_consumer_batch_rows", "Messages in one transaction.", buckets=(1, 10, 100, 1_000, 5_000, 10_000, 100_000)
)
BATCH_SECONDS = Histogram("heartbeat_consumer_batch_seconds", "Time of one transaction.")
REBALANCES = Counter("heartbeat_consumer_rebalances_total", "Partitions assigned or revoked.", ["event"])
