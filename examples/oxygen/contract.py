"""One oxygen saturation of one person; its table is in `oxygen.sql`."""

from typing import Final

from contracts.contract import Contract
from contracts.fields import Float, Integer, Text, Timestamp

OXYGEN: Final = Contract(
    title="Oxygen reading",
    description="One oxygen saturation of one person",
    table="oxygen",
    key="person",
    time="measured_at",
    fields=(
        Text("person", max_characters=40),
        Timestamp("measured_at"),
        Float("percent", minimum=0, maximum=100, description="Saturated part of the haemoglobin"),
        Text("site", choices=("finger", "ear", "forehead")),
        Integer("pulse_bpm", size=2, minimum=1, maximum=300, nullable=True),
    ),
)
