"""The producer's metrics."""

from prometheus_client import Counter, Gauge

DELIVERED = Counter("heartbeat_producer_delivered_total", "Messages the broker acknowledged.")
UNDELIVERED = Counter("heartbeat_producer_undelivered_total", "Messages not delivered, by reason.", ["reason"])
SKIPPED = Counter("heartbeat_producer_skipped_total", "Readings not sent because the schedule was missed.")
IN_FLIGHT = Gauge("heartbeat_producer_in_flight", "Messages sent and not yet acknowledged.")
