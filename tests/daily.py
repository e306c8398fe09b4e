"""A small event whose table is partitioned by day, and what stores it in the consumer's way."""

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Final

from common.event import MAX_FUTURE
from common.settings import Consumer, Event
from common.topic_identity import TopicIdentity
from contracts.contract import Contract
from contracts.fields import Text, Timestamp
from store.batch import Batch, Slice
from store.events import Events
from store.lag import Lag
from store.maintenance import Maintenance
from store.postgres import PostgresStore
from store.validation import Decode
from tests.memory import MemoryCheck
from tests.pipeline import Database
from tests.records import MemoryRecord
from tests.store import credentials_for, settings_on

VISITS: Final = Contract(
    title="Visit", description="A visit", table="visits", key="code", time="at",
    fields=(Text("code"), Timestamp("at")),
)  # fmt: skip
EVENT: Final = Event(contract=f"{__name__}:VISITS")
COLUMNS: Final = "id bigint NOT NULL, code text NOT NULL, at timestamptz NOT NULL"
TABLE: Final = f"CREATE TABLE visits ({COLUMNS}, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)"
REGISTER: Final = "SELECT partition_by_day('visits')"
TOPIC: Final = TopicIdentity("visits", "its id")
DAY: Final = timedelta(days=1)
DAYS: Final = (
    "SELECT array_agg((now() AT TIME ZONE 'UTC')::date - (at AT TIME ZONE 'UTC')::date ORDER BY at DESC) FROM {}"
)
PLACES: Final = "SELECT tableoid::regclass::text, count(*) FROM visits GROUP BY 1"
DROPPED: Final = "SELECT stored, stored_dropped FROM kafka_ledger"


def open_maintenance(database: Database, login: tuple[str, str] | None = None, days: int = 7) -> Maintenance:
    """Make the maintenance of this event's table, without its thread."""
    settings = settings_on(database, Consumer(retention_days=days), EVENT)
    return Maintenance(settings, credentials_for(database, login), Lag(), Events("consumer"))


def store_days(database: Database, *ago: int, login: tuple[str, str] | None = None) -> list[str]:
    """Store one event of each of these days in one batch, in the consumer's way; return what PostgreSQL refused."""
    settings = settings_on(database, Consumer(retention_days=30), EVENT)
    with closing(PostgresStore(settings, credentials_for(database, login))) as store:
        generation, positions = store.positions(TOPIC, {0: (0, 0)})
        first, now, now_ms = positions[0].next_offset, datetime.now(UTC), round(time.time() * 1000)
        records = [
            MemoryRecord(0, offset, f'{{"code": "a", "at": "{(now - days * DAY).isoformat()}"}}'.encode(), now_ms)
            for offset, days in enumerate(ago, first)
        ]
        decode = Decode(VISITS, MAX_FUTURE)
        batch = Batch.of([Slice(0, first, first + len(ago), records)], generation, decode)
        rejected = store.write(batch, TOPIC, MemoryCheck())
    return [one.detail or one.reason for one in rejected]
