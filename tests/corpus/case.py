"""What a case of the corpus is: bytes as they may stand in Kafka, and what must become of them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from contracts.heartbeats import CUSTOMER_ID, HEART_RATE
from store.timestamps import EPOCH
from store.validation import Event

# The broker's time of a record unless a case says otherwise: earlier than any real broker's clock, later than `TIME`.
USUAL_MS: Final = 1_735_689_600_000  # 2025-01-01T00:00:00Z
CUSTOMER_ID_MAX_CHARACTERS: Final = CUSTOMER_ID.max_characters or 0
HEART_RATE_MIN_BPM: Final = HEART_RATE.lowest
HEART_RATE_MAX_BPM: Final = HEART_RATE.highest
CUSTOMER: Final = "CUST-000001"
TIME: Final = "2024-11-22T09:00:00.123456Z"
INSTANT: Final = datetime(2024, 11, 22, 9, 0, 0, 123456, tzinfo=UTC)
RATE: Final = 72
HUGE: Final = 900_000  # bytes or so; a default producer refuses messages over 1,000,000
DIGITS: Final = 10_000  # more than Python turns into a number (4,300)

Row = tuple[str, datetime, int]  # customer_id, instant, beats per minute


@dataclass(frozen=True, slots=True)
class Case:
    """
    A payload and its result.

    `expected` is the row it becomes, or the reason why it does not; `appended_ms` is the broker's time.
    """

    name: str
    payload: bytes | None
    expected: str | Row
    appended_ms: int = USUAL_MS

    @property
    def holds_on_any_broker(self) -> bool:
        """Return whether the result is the same at every time since `USUAL_MS`: such a case can be sent for real."""
        return self.appended_ms == USUAL_MS


def event(
    customer_id: str = f'"{CUSTOMER}"', timestamp: str = f'"{TIME}"', heart_rate: str = f"{RATE}", also: str = ""
) -> bytes:
    """Write an event whose values are given as they stand in the JSON text; `also` follows them."""
    return f'{{"customer_id": {customer_id}, "timestamp": {timestamp}, "heart_rate": {heart_rate}{also}}}'.encode()


def row(customer_id: str = CUSTOMER, instant: datetime = INSTANT, heart_rate: int = RATE) -> Row:
    """Return the row that an event becomes."""
    return customer_id, instant, heart_rate


def read_back(decoded: Event | str) -> Row | str:
    """Return what was decoded in the words of a case."""
    if isinstance(decoded, str):
        return decoded
    customer_id, time_us, heart_rate = decoded
    return customer_id, EPOCH + timedelta(microseconds=time_us), heart_rate
