"""
Mutated payloads: validation gives a result for all bytes, the same one twice, and PostgreSQL agrees.

The seeds are the corpus in tests/corpus; a payload that fails here is printed, and becomes a case there.
"""

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from common.topic_identity import TopicIdentity
from contracts.heartbeats import HEARTBEATS
from store.batch import Batch, Slice
from store.position import Position
from store.postgres import PostgresStore
from store.validation import Decode, Event
from tests.corpus.case import USUAL_MS, Row, event, read_back
from tests.corpus.hostile import CASES
from tests.memory import MemoryCheck
from tests.pipeline import Database
from tests.records import MemoryRecord
from tests.store import open_store

SEED: Final = 5
MUTANTS: Final = 40_000  # about two seconds
STORED: Final = 20_000  # about ten seconds
LONGEST: Final = 2_000  # bytes of a seed: longer ones cost time and say nothing new
# What a flipped bit hardly ever makes, though it matters to a parser, a calendar or COPY.
TOKENS: Final = (
    b'"', b"\\", b"\\\\", b"\\n", b"\\t", b"\\.", b"\\N", b"\t", b"\n", b"\r", b"\0", b"\\u0000", b"\\ud800",
    b"\\u0041", b"\\u0661", b"\\u00b2", b"{", b"}", b"[", b",", b":", b"0", b"-", b"1e1", b".5", b"00", b"9999", b"Z",
    b"+23:59", b"-00:00", b"24:00:00", b":60", b"NaN", b"null", b"true", b"\xff",
    b"\xc3\xa9", b"\xed\xa0\x80", b"\xf0\x9f\x92\x93", b"\xe2\x80\xa8",
    b'"heart_rate": 1, ', b'"customer_id": "x", ', b'"timestamp": "2024-02-29T23:59:59Z", ', b'"more": [{}], ',
)  # fmt: skip


def seeds() -> list[bytes]:
    return [case.payload for case in CASES if case.payload is not None and len(case.payload) <= LONGEST]


def mutate(payload: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Flip a bit, cut, repeat, splice, insert or overwrite: once, or up to three times."""
    mutant = bytearray(payload)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randrange(len(mutant) + 1)
        end = min(len(mutant), at + chance.choice((1, 2, 4, 8, 32)))
        match chance.choice(("flip", "cut", "repeat", "splice", "insert", "overwrite")):
            case "flip" if at < len(mutant):
                mutant[at] ^= 1 << chance.randrange(8)
            case "cut":
                del mutant[at:end]
            case "repeat":
                mutant[at:at] = mutant[at:end]
            case "splice":
                other = chance.choice(others)
                mutant[at:] = other[chance.randrange(len(other) + 1) :]
            case "insert":
                mutant[at:at] = chance.choice(TOKENS)
            case _:
                mutant[at:end] = chance.choice(TOKENS)
    return bytes(mutant)


def mutants(pool: list[bytes], seed: int) -> Iterator[bytes]:
    """Go on for ever, the same for the same seed."""
    chance = random.Random(seed)
    while True:
        yield mutate(chance.choice(pool), pool, chance)


def read_plainly(payload: bytes) -> Row:
    """Read an accepted event another way: by Python's own parser and calendar."""
    found = json.loads(payload.decode(), parse_int=lambda digits: int(digits[:30]))
    return found["customer_id"], read_time(found["timestamp"]), found["heart_rate"]


def read_time(text: str) -> datetime:
    if text.startswith("0000"):  # a year that only its zone moves into the calendar
        return datetime.fromisoformat("0001" + text[4:]).astimezone(UTC) - timedelta(days=365)
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.fixture(scope="module")
def decode() -> Decode:
    return Decode(HEARTBEATS, timedelta(minutes=5))


class Exactly(Decode):
    """Validates by the exact parser alone."""

    def _read(self, payload: bytes) -> Event:
        return self.read_exactly(payload)


def test_every_mutant_gets_one_result_and_what_is_accepted_was_read_right(decode: Decode) -> None:
    """An exception would stop a partition for ever; with a second result, a replay would differ."""
    exactly, good = Exactly(HEARTBEATS, timedelta(minutes=5)), event()
    accepted = at_once = 0
    for _, payload in zip(range(MUTANTS), mutants(seeds(), SEED), strict=False):
        result = decode(payload, USUAL_MS)
        columns = decode.all([good, payload, good], [USUAL_MS] * 3)

        assert result == exactly(payload, USUAL_MS), payload
        if not isinstance(result, str):
            accepted += 1
            assert read_back(result) == read_plainly(payload), payload
        if columns is not None:
            at_once += 1
            assert tuple(column[1] for column in columns) == result, payload
    assert MUTANTS // 100 < at_once <= accepted < MUTANTS // 2


@pytest.mark.integration
def test_postgresql_accepts_every_mutant_that_validation_accepts(decode: Decode, database: Database) -> None:
    """Otherwise a whole batch is written row by row until the rejected row is found."""
    good = [payload for payload in seeds() if not isinstance(decode(payload, USUAL_MS), str)]
    good.append(event())
    records: list[MemoryRecord] = []
    expected: dict[int, Row | str] = {}
    for payload in mutants(good, SEED):
        result = decode(payload, USUAL_MS)
        if not isinstance(result, str):
            expected[len(records)] = read_back(result)
            records.append(MemoryRecord(0, len(records), payload))
        if len(records) == STORED:
            break
    topic = TopicIdentity("fuzz", "fuzz-id")
    store = open_store(PostgresStore, database)
    generation, positions = store.positions(topic, {0: (0, STORED)})
    for start in range(0, STORED, 5_000):
        part = records[start : start + 5_000]
        batch = Batch.of([Slice(0, start, start + len(part), part)], generation, decode)
        assert [rejected.reason for rejected in store.write(batch, topic, MemoryCheck())] == []
    store.close()

    assert positions == {0: Position(0)}
    found = database.query('SELECT (kafka_place(id))."offset", customer_id, "timestamp", heart_rate FROM heartbeats')
    assert {place: (customer_id, time, rate) for place, customer_id, time, rate in found} == expected
