"""Contracts for tests alone: every kind of field, required and nullable, and each way with unknown fields."""

from dataclasses import replace
from typing import Final

from contracts.contract import Contract, Unknown
from contracts.fields import Boolean, Float, Integer, IntegerArray, Json, Text, Timestamp, Uuid

REQUIRED: Final = (
    Text("name", max_characters=5),
    Text("code", pattern=r"[A-Z]{2}-[0-9]{3}"),
    Text("side", choices=("left", "right")),
    Text("note", min_characters=0),
    Timestamp("at"),
    Integer("small", size=2),
    Integer("middle", size=4, minimum=-5, maximum=5),
    Integer("large", size=8),
    Float("any_real"),
    Float("percent", minimum=0, maximum=100),
    Boolean("is_on"),
    Uuid("device"),
    Json("body"),
    IntegerArray("shorts", size=2, max_elements=3),
    IntegerArray("longs", size=8, minimum=0),
)
EVERYTHING: Final = Contract(
    title="Everything",
    description="A field of every kind, required and nullable",
    table="everything",
    key="name",
    time="at",
    fields=(*REQUIRED, *(replace(field, name=f"maybe_{field.name}", nullable=True) for field in REQUIRED)),
)
CLOSED: Final = replace(EVERYTHING, unknown=Unknown.REFUSED)
KEPT: Final = replace(EVERYTHING, keep_unknown_in="others")
TABLE: Final = """
CREATE TABLE everything (
    id bigint PRIMARY KEY, name varchar NOT NULL, code text NOT NULL, side text NOT NULL, note text NOT NULL,
    at timestamptz NOT NULL, small smallint NOT NULL, middle integer NOT NULL, large bigint NOT NULL,
    any_real double precision NOT NULL, percent double precision NOT NULL, is_on boolean NOT NULL, device uuid NOT NULL,
    body jsonb NOT NULL, shorts smallint[] NOT NULL, longs bigint[] NOT NULL,
    maybe_name varchar, maybe_code text, maybe_side text, maybe_note text, maybe_at timestamptz, maybe_small smallint,
    maybe_middle integer, maybe_large bigint, maybe_any_real double precision, maybe_percent double precision,
    maybe_is_on boolean, maybe_device uuid, maybe_body jsonb, maybe_shorts smallint[], maybe_longs bigint[],
    others jsonb NOT NULL
)
"""
