"""One order of a shop; its table is in `orders.sql`."""

from typing import Final

from contracts.contract import Contract
from contracts.fields import Integer, Json, Text, Timestamp

ORDERS: Final = Contract(
    title="Order",
    description="One order of a shop",
    table="orders",
    key="order_id",
    time="ordered_at",
    fields=(
        Text("order_id", max_characters=40),
        Timestamp("ordered_at"),
        Json("lines", description="What was ordered, in the shop's own form"),
        Integer("total_cents", size=8, minimum=0),
    ),
    unique=("order_id",),
    keep_unknown_in="more",
)
