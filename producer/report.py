"""What the producer says of itself: one `Sent` line a second, and every reading that did not get through."""

import time
from collections import Counter
from typing import Final

import structlog

from common.telemetry import SKIPPED, Health
from producer.kafka_producer import KafkaSender

INTERVAL_S: Final = 1.0


class Report:
    """Looks at the sender's counts once a second."""

    def __init__(self, sender: KafkaSender, health: Health) -> None:
        self._log = structlog.get_logger()
        self._sender = sender
        self._health = health
        self._since = time.monotonic()
        self._told = 0
        self._told_undelivered: Counter[str] = Counter()
        self._skipped = 0
        self.skipped_total = 0

    def skipped(self, count: int) -> None:
        """Count readings that were not taken because their time had passed."""
        self._skipped += count
        self.skipped_total += count
        SKIPPED.inc(count)

    def tick(self) -> None:
        """Speak if a second has passed."""
        seconds = time.monotonic() - self._since
        if seconds >= INTERVAL_S:
            self.speak(seconds)

    def speak(self, seconds: float) -> None:
        """Speak now of the last `seconds`."""
        self._since = time.monotonic()
        sender = self._sender
        count = sender.delivered - self._told
        self._told = sender.delivered
        if count or sender.in_flight:
            self._log.info(
                "Sent",
                count=count,
                rate_per_s=round(count / max(seconds, 0.001)),
                in_flight=sender.in_flight,
                total=sender.delivered,
            )
        if count or not sender.in_flight:
            self._health.ok()
        for reason, undelivered in (sender.undelivered - self._told_undelivered).items():
            self._log.error(f"cannot deliver {undelivered} messages: {reason}", hint="They are lost; see its log.")
        self._told_undelivered = sender.undelivered.copy()
        if self._skipped:
            self._log.warning(
                f"cannot keep up: {self._skipped} readings skipped",
                hint="The broker is slow or this process was stopped; otherwise lower HEARTBEAT_PRODUCER__CUSTOMERS.",
            )
            self._skipped = 0
