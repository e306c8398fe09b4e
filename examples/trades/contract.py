"""One trade on an exchange; its table is in `trades.sql`."""

from typing import Final

from contracts.contract import Contract, Unknown
from contracts.fields import Integer, IntegerArray, Text, Timestamp

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
        Integer("price_nano", size=8, minimum=0, description="Billionths of the currency's unit"),
        Integer("quantity", size=8, minimum=1),
        IntegerArray("fills", size=8, minimum=1, max_elements=100, description="The quantities of which it is made"),
    ),
    unknown=Unknown.REFUSED,
)
