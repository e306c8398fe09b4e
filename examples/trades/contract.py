"""One trade on an exchange; its table is in `trades.sql`."""

from typing import Final

from contracts.contract import Contract, Unknown
from contracts.fields import Text, Timestamp, Whole, Wholes

TRADES: Final = Contract(
    title="Trade",
    description="One trade on an exchange",
    table="trades",
    key="symbol",
    time="executed_at",
    fields=(
        Text("symbol", pattern=r"[A-Z]{1,6}"),
        Timestamp("executed_at"),
        Timestamp("settles_at"),
        Whole("price_nano", size=8, minimum=0, description="Billionths of the currency's unit"),
        Whole("quantity", size=8, minimum=1),
        Wholes("fills", size=8, minimum=1, max_elements=100, description="The quantities of which it is made"),
    ),
    unknown=Unknown.REFUSED,
)
