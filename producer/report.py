"""What the producer reports: one `Sent` line a second, and each reading that was not delivered."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from common.telemetry import Health
from producer.kafka_producer import KafkaSender
from producer.metrics import DELIVERED, IN_FLIGHT, SKIPPED, UNDELIVERED

INTERVAL_S: Final = 1.0


class SendReport:
    """
    Looks at the sender's counts once a second.

    Args:
        sender: Its counts are reported.
        health: Notified of progress.
        on_outage: Called once when nothing is acknowledged any more.
    """

    def __init__(self, sender: KafkaSender, health: Health, on_outage: Callable[[], None]) -> None:
        self._log = structlog.get_logger()
        self._sender = sender
        self._health = health
        self._on_outage = on_outage
        self._since = time.monotonic()
        self._reported = 0
        self._reported_undelivered: Counter[str] = Counter()
        self._was_in_flight = 0
        self._reported_outage = False
        self._skipped = 0
        self.skipped_total = 0

    @property
    def is_stuck(self) -> bool:
        """Return whether messages are in flight and none was acknowledged lately."""
        return self._reported_outage

    def skipped(self, count: int) -> None:
        """Count readings that were not taken because their time had passed."""
        self._skipped += count
        self.skipped_total += count
        SKIPPED.inc(count)

    def tick(self) -> None:
        """Report if a second has passed since the last report."""
        if time.monotonic() - self._since >= INTERVAL_S:
            self.flush()

    def flush(self) -> None:
        """Report what happened since the last report."""
        seconds = time.monotonic() - self._since
        self._since += seconds
        sender = self._sender
        in_flight, count = sender.in_flight, sender.delivered - self._reported
        self._reported = sender.delivered
        DELIVERED.inc(count)
        IN_FLIGHT.set(in_flight)
        if count or in_flight:
            self._log.info(
                "Sent",
                count=count,
                rate_per_s=round(count / max(seconds, 0.001)),
                in_flight=in_flight,
                total=sender.delivered,
                undelivered=sender.undelivered.total(),
            )
        self._report_outage(is_stuck=not count and in_flight > 0 and self._was_in_flight > 0)
        self._was_in_flight = in_flight
        for reason, undelivered in (sender.undelivered - self._reported_undelivered).items():
            UNDELIVERED.labels(reason).inc(undelivered)
            self._log.error(
                "cannot deliver messages",
                count=undelivered,
                reason=reason,
                hint="They are not sent again; read the broker's log.",
            )
        self._reported_undelivered = sender.undelivered.copy()
        if self._skipped:
            self._log.warning(
                "cannot keep up, readings skipped",
                count=self._skipped,
                hint="The broker is slow or this process was stopped; otherwise lower HEARTBEAT_PRODUCER__CUSTOMERS.",
            )
            self._skipped = 0

    def _report_outage(self, *, is_stuck: bool) -> None:
        if not is_stuck:
            self._health.ok()
            self._reported_outage = False
        elif not self._reported_outage:
            self._reported_outage = True
            self._log.warning(
                "nothing is acknowledged",
                error=self._sender.last_error or "the client reports none",
                hint="Readings wait in memory until the broker accepts them; check that it runs, and read its log.",
            )
            self._on_outage()
