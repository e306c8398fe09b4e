"""One heart rate of one customer; its table is in `db/`."""

from typing import Final

from contracts.contract import Contract
from contracts.fields import Integer, Text, Timestamp

CUSTOMER_ID: Final = Text("customer_id", max_characters=64)
HEART_RATE: Final = Integer("heart_rate", size=4, minimum=1, maximum=300, description="Beats per minute")
HEARTBEATS: Final = Contract(
    title="Heartbeat",
    description="One heart rate of one customer",
    table="heartbeats",
    key="customer_id",
    time="timestamp",
    fields=(CUSTOMER_ID, Timestamp("timestamp"), HEART_RATE),
    maintained=True,
)
