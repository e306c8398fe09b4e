"""What the producer says of itself: one `Sent` line a second, and every reading that did not get through."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

import structlog

from common.telemetry import Health
from producer.kafka_producer import KafkaSender
from producer.metrics import DELIVERED, IN_FLIGHT, SKIPPED, UNDELIVERED

INTERVAL_S: Final = 1.0


class Report:
    """
    Looks at the sender's counts once a second.

    Args:
        sender: Whose counts.
        health: Told of progress.
        on_outage: Called once when nothing is acknowledged any more.
    """

    def __init__(self, sender: KafkaSender, health: Health, on_outage: Callable[[], None]) -> None:
        self._log = structlog.get_logger()
        self._sender = sender
        self._health = health
        self._on_outage = on_outage
        self._since = time.monotonic()
        self._told = 0
        self._told_undelivered: Counter[str] = Counter()
        self._was_in_flight = 0
        self._told_outage = False
        self._skipped = 0
        self.skipped_total = 0

    @property
    def is_stuck(self) -> bool:
        """Tell whether nothing was acknowledged lately although something is on its way."""
        return self._told_outage

    def skipped(self, count: int) -> None:
        """Count readings that were not taken because their time had passed."""
        self._skipped += count
        self.skipped_total += count
        SKIPPED.inc(count)

    def tick(self) -> None:
        """Speak if a second has passed."""
        if time.monotonic() - self._since >= INTERVAL_S:
            self.speak()

    def speak(self) -> None:
        """Speak now of the time since the last report."""
        seconds = time.monotonic() - self._since
        self._since += seconds
        sender = self._sender
        in_flight, count = sender.in_flight, sender.delivered - self._told
        self._told = sender.delivered
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
        self._tell_outage(is_stuck=not count and in_flight > 0 and self._was_in_flight > 0)
        self._was_in_flight = in_flight
        for reason, undelivered in (sender.undelivered - self._told_undelivered).items():
            UNDELIVERED.labels(reason).inc(undelivered)
            self._log.error(
                f"cannot deliver {undelivered} messages: {reason}",
                hint="They are not sent again; look into the broker's log.",
            )
        self._told_undelivered = sender.undelivered.copy()
        if self._skipped:
            self._log.warning(
                f"cannot keep up: {self._skipped} readings skipped",
                hint="The broker is slow or this process was stopped; otherwise lower HEARTBEAT_PRODUCER__CUSTOMERS.",
            )
            self._skipped = 0

    def _tell_outage(self, *, is_stuck: bool) -> None:
        if not is_stuck:
            self._health.ok()
            self._told_outage = False
        elif not self._told_outage:
            self._told_outage = True
            self._log.warning(
                f"nothing is acknowledged: {self._sender.last_error or 'the client says nothing of why'}",
                hint="Readings wait in memory until the broker takes them; check that it runs, and its log.",
            )
            self._on_outage()
