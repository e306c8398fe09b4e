"""Encodes readings as messages: JSON by the event contract."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from common.event import customer_id

Messages = list[dict[str, Any]]  # key and value; produce_batch adds `_error` to those it refuses


class Encoder:
    """
    Writes events of numbered customers.

    Args:
        customers: How many there are; their keys are written once.
    """

    def __init__(self, customers: int) -> None:
        self._keys = [customer_id(number).encode() for number in range(1, customers + 1)]

    def encode(self, first: int, rates_bpm: Sequence[int], at: datetime) -> Messages:
        """
        Write one event for each of the customers from `first` (from 0) on.

        Args:
            first: The first customer.
            rates_bpm: Their heart rates.
            at: When they were taken.
        Returns:
            Key and value of each message, in the form of `Producer.produce_batch`.
        """
        time = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"
        # The same few ends for thousands of messages: writing them once halves the time.
        ends = {bpm: f'", "timestamp": "{time}", "heart_rate": {bpm}}}'.encode() for bpm in set(rates_bpm)}
        return [
            {"key": key, "value": b'{"customer_id": "%b%b' % (key, ends[bpm])}
            for key, bpm in zip(self._keys[first : first + len(rates_bpm)], rates_bpm, strict=True)
        ]
