"""Readings become messages: the JSON of the event contract, byte by byte the same for every reader."""

from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from common.event import customer_id

Messages = list[dict[str, object]]  # key and value; produce_batch adds `_error` to those it refuses


class Encoder:
    """
    Writes events of numbered customers.

    Args:
        customers: How many there are; what never changes in their messages is written once.
    """

    def __init__(self, customers: int) -> None:
        self._keys = [customer_id(number).encode() for number in range(1, customers + 1)]

    def encode(self, start: int, rates: npt.NDArray[np.int16], at: datetime) -> Messages:
        """
        Write one event for each of the customers from `start` (from 0) on.

        Args:
            start: The first customer.
            rates: Their heart rates in beats per minute.
            at: When they were taken.
        Returns:
            Key and value of each message, in the form of `Producer.produce_batch`.
        """
        tail = f'", "timestamp": "{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z", "heart_rate": '
        tails = {rate: f"{tail}{rate}}}".encode() for rate in np.unique(rates).tolist()}
        return [
            {"key": key, "value": b'{"customer_id": "%b%b' % (key, tails[rate])}
            for key, rate in zip(self._keys[start : start + len(rates)], rates.tolist(), strict=True)
        ]
