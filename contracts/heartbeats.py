"""One heart rate of one customer; its table is in `db/`."""

from typing import Final

from contracts.contract import Contract
from contracts.fields import Text, Timestamp, Whole

HEARTBEATS: Final = Contract(
    title="Heartbeat",
    description="One heart rate of one customer",
    table="heartbeats",
    key="customer_id",
    time="timestamp",
    fields=(
        Text("customer_id", max_characters=64),
        Timestamp("timestamp"),
        Whole("heart_rate", size=4, minimum=1, maximum=300, description="Beats per minute"),
    ),
)
