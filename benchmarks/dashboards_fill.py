"""Weeks of heartbeats for `benchmarks.dashboards`: the last ones as rows, those before as rollups alone."""

import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import psycopg

from benchmarks.stack import DATABASE
from local.postgres import PostgresServer
from local.postgres_programs import program
from local.schema import apply_schema
from local.service import ROOT

READER: Final = "reader"
PASSWORD: Final = "reader's"
CUSTOMERS: Final = 1000  # each sends once a second
CHUNK_S: Final = 3600  # of heartbeats in one transaction
TILE_MIN: Final = 15  # rollups of the last minutes, repeated into the past; divides an hour
WORKERS: Final = 2
NOTED_S: Final = 65  # how far behind rollups are, at the worst, while all runs

# Nothing of this is what is measured; after a crash it is filled again.
QUICKLY: Final = {
    "fsync": "off", "full_page_writes": "off", "wal_level": "minimal", "max_wal_senders": "0", "max_wal_size": "4GB",
    "autovacuum": "off", "shared_buffers": "1GB", "maintenance_work_mem": "1GB", "work_mem": "256MB",
    "max_parallel_maintenance_workers": "1",
}  # fmt: skip

NO_INDEXES: Final = """
DROP INDEX idx_timestamp; DROP INDEX idx_customer_id; ALTER TABLE heartbeats DROP CONSTRAINT heartbeats_pkey;
DROP INDEX idx_per_minute; ALTER TABLE heartbeats_per_minute DROP CONSTRAINT heartbeats_per_minute_pkey;
"""
INDEXES: Final = (  # as in db/schema.sql
    'CREATE INDEX idx_timestamp ON heartbeats ("timestamp")',
    'CREATE INDEX idx_customer_id ON heartbeats (customer_id, "timestamp")',
    'ALTER TABLE heartbeats ADD PRIMARY KEY (id, "timestamp")',
    "CREATE INDEX idx_per_minute ON heartbeats_per_minute (minute)",
    "ALTER TABLE heartbeats_per_minute ADD PRIMARY KEY (customer_id, minute)",
)
# Customers one after the other within each second; nine of ten readings within 60 to 100.
READINGS: Final = """
INSERT INTO heartbeats (id, customer_id, "timestamp", heart_rate)
SELECT kafka_place_id(1, c %% 6, extract(epoch FROM second)::bigint %% 10000000 * 200 + c / 6),
       'CUST-' || lpad((c + 1)::text, 6, '0'),
       second + c * interval '1 ms',
       CASE WHEN chance < 0.9 THEN 60 + floor(chance * 41 / 0.9)
            WHEN chance < 0.95 THEN 50 + floor((chance - 0.9) * 200) ELSE 101 + floor((chance - 0.95) * 400) END
FROM (SELECT second, c, random() AS chance
      FROM generate_series(%s::timestamptz, %s::timestamptz - interval '1 s', interval '1 s') AS second,
           generate_series(0, 999) AS c) AS drawn
"""
NOTE: Final = """
INSERT INTO heartbeats_touched SELECT minute, coalesce(%s, minute)
FROM generate_series(
    date_trunc('minute', %s::timestamptz), date_trunc('minute', %s::timestamptz), interval '1 min') AS minute
"""
TILE_PER_MINUTE: Final = """
INSERT INTO heartbeats_per_minute
SELECT customer_id, minute - n * make_interval(mins => %(tile)s), readings, sum_bpm, min_bpm, max_bpm, low, high
FROM generate_series(%(first)s::integer, %(last)s) AS n, (
    SELECT * FROM heartbeats_per_minute
    WHERE minute >= %(begin)s AND minute < %(begin)s + make_interval(mins => %(tile)s)
    ORDER BY minute, customer_id) AS tile
"""
TILE_FLEET: Final = """
INSERT INTO heartbeats_fleet
SELECT width_s, bucket - n * make_interval(mins => %(tile)s), readings, sum_bpm, min_bpm, max_bpm, low, high,
       p05, p50, p95, bpm, counts
FROM generate_series(%(first)s::integer, %(last)s) AS n, heartbeats_fleet
WHERE width_s = 10 AND bucket >= %(begin)s AND bucket < %(begin)s + make_interval(mins => %(tile)s)
"""
WIDEN_FLEET: Final = """
INSERT INTO heartbeats_fleet
SELECT fleet.*
FROM (SELECT date_bin(make_interval(secs => %(wide)s), bucket, 'epoch') AS wide,
             array_agg(rate) AS bpm, array_agg(number) AS counts
      FROM heartbeats_fleet, unnest(bpm, counts) AS pair (rate, number) WHERE width_s = %(fine)s GROUP BY wide) AS fine,
     LATERAL sum_up_fleet(%(wide)s::integer, wide, fine.bpm, fine.counts) AS fleet
"""
QUARANTINE: Final = """
INSERT INTO rejected_heartbeats
SELECT kafka_place_id(1, 0, n), 'heartbeats', 0, n,
       'CUST-000001', '{"customer_id": "CUST-000001", "heart_rate": 0}', 46,
       (ARRAY['heart_rate_range', 'not_json', 'timestamp_missing'])[1 + n %% 3], moment, moment
FROM generate_series(0, %(number)s - 1) AS n, LATERAL (SELECT %(end)s - n * %(apart)s AS moment) AS at
"""
LEDGER: Final = """
INSERT INTO kafka_topics VALUES (1, 'filled', 'heartbeats');
INSERT INTO kafka_ledger SELECT 1, p, 0, 1000000, 1000000 FROM generate_series(0, 5) AS p;
CREATE TABLE filled (step text PRIMARY KEY, at timestamptz NOT NULL);
"""


class Filling:
    """
    A fill that goes on where it was interrupted, step by step.

    Args:
        server: Running.
        rows: Of heartbeats, those of the last seconds.
        days: That the rollups reach back.
    """

    def __init__(self, server: PostgresServer, rows: int, days: int) -> None:
        self._server = server
        with psycopg.connect(server.conninfo(), autocommit=True) as admin:
            if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
                admin.execute(f"CREATE DATABASE {DATABASE}")
        self._connection = psycopg.connect(server.conninfo(DATABASE), autocommit=True)
        self._once("schema", self._make_schema)
        row = self._connection.execute("SELECT date_trunc('second', at) FROM filled WHERE step = 'schema'").fetchone()
        self.end: datetime = row[0] if row else datetime.now(UTC)
        self._begin = self.end - timedelta(seconds=rows // CUSTOMERS)
        self._days = days

    def run(self) -> None:
        """Fill what is not filled yet."""
        chunks = list(self._chunks())
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda chunk: self._once(f"readings from {chunk[0]}", self._store, READINGS, *chunk), chunks))
        self._once("index the readings by time", self._store, INDEXES[0])
        self._once("notes", self._store, NOTE, None, self._begin, self.end)
        self._once("sum up", self._sum_up)
        begin = self.end.replace(second=0) - timedelta(minutes=TILE_MIN)
        # Where rows are, so are their rollups: the youngest tile ends before the first row.
        first = 1 - (self._begin.replace(second=0) - begin) // timedelta(minutes=TILE_MIN)
        last = self._days * 24 * 60 // TILE_MIN
        tiles = {"tile": TILE_MIN, "begin": begin, "last": last, "first": first}
        middle = (first + last) // 2
        self._once("older minutes, first half", self._store, TILE_PER_MINUTE, {**tiles, "last": middle})
        self._once("older minutes, second half", self._store, TILE_PER_MINUTE, {**tiles, "first": middle + 1})
        self._once("older seconds of the fleet", self._store, TILE_FLEET, tiles)
        for index in INDEXES[1:]:
            self._once(index, self._store, index)
        for fine, wide in ((10, 60), (60, 600), (600, 3600)):
            self._once(f"fleet per {wide} s", self._widen, fine, wide)
        self._once("customers per 10 minutes and hour", self._upgrade)
        number = min(100_000, self._days * 86_400)
        apart = timedelta(days=self._days) / number
        self._once("quarantine", self._store, QUARANTINE, {"number": number, "end": self.end, "apart": apart})
        self._once(
            "notes of the last seconds",
            self._store,
            NOTE,
            datetime.now(UTC),
            self.end - timedelta(seconds=NOTED_S),
            self.end,
        )
        self._once("VACUUM (ANALYZE)", self._store, "VACUUM (ANALYZE)")
        self._connection.close()

    def _chunks(self) -> Iterator[tuple[datetime, datetime]]:
        start = self._begin
        while start < self.end:
            yield start, (start := min(self.end, start + timedelta(seconds=CHUNK_S)))

    def _once(self, step: str, work: Callable[..., None], *arguments: object) -> None:
        """Do a step unless it was done before, and note it."""
        with psycopg.connect(self._server.conninfo(DATABASE), autocommit=True) as connection:
            if (
                connection.execute("SELECT to_regclass('filled') IS NULL").fetchone() == (False,)
                and connection.execute("SELECT 1 FROM filled WHERE step = %s", (step,)).fetchone()
            ):
                return
            started = time.perf_counter()
            work(connection, *arguments)
            connection.execute("INSERT INTO filled VALUES (%s, now())", (step,))
            print(f"{time.perf_counter() - started:7.1f} s  {step}", flush=True)

    def _make_schema(self, connection: psycopg.Connection) -> None:
        apply_schema(self._server, DATABASE)
        connection.execute(NO_INDEXES)
        connection.execute(LEDGER)
        environment = {
            "PGHOST": self._server.host, "PGPORT": str(self._server.port), "PGDATABASE": DATABASE,
            "PGUSER": self._server.superuser, "PGPASSWORD": self._server.password, "POSTGRESQL_DATABASE": DATABASE,
            "POSTGRESQL_CONSUMER_USERNAME": "consumer", "POSTGRESQL_CONSUMER_PASSWORD": PASSWORD,
            "GRAFANA_POSTGRESQL_USERNAME": READER, "GRAFANA_POSTGRESQL_PASSWORD": PASSWORD,
        }  # fmt: skip
        command = [program("psql"), "--no-psqlrc", "--quiet", "--file", ROOT / "db" / "roles.sql"]
        subprocess.run([str(part) for part in command], env=environment, check=True)
        for ago in range(2, 10):
            connection.execute("SELECT make_heartbeats_partition((now() AT TIME ZONE 'UTC')::date - %s)", (ago,))

    @staticmethod
    def _store(connection: psycopg.Connection, statement: str, *arguments: object) -> None:
        values = arguments[0] if arguments and isinstance(arguments[0], dict) else arguments or None
        connection.execute(statement.encode(), values)

    @staticmethod
    def _sum_up(connection: psycopg.Connection) -> None:
        connection.execute("CREATE INDEX IF NOT EXISTS idx_per_minute_meanwhile ON heartbeats_per_minute (minute)")
        while connection.execute("SELECT refresh_rollups(60)").fetchone() != (0,):
            pass
        connection.execute("DROP INDEX idx_per_minute_meanwhile")

    @staticmethod
    def _widen(connection: psycopg.Connection, fine: int, wide: int) -> None:
        connection.execute("DELETE FROM heartbeats_fleet WHERE width_s = %s", (wide,))
        connection.execute(WIDEN_FLEET, {"fine": fine, "wide": wide})

    def _upgrade(self, connection: psycopg.Connection) -> None:
        """Have a migration make the rollup that it makes where there is none."""
        connection.execute("TRUNCATE heartbeats_per_customer; DELETE FROM heartbeat_migrations WHERE number = 7")
        apply_schema(self._server, DATABASE)


@contextmanager
def filled(folder: Path, rows: int, days: int) -> Iterator[tuple[PostgresServer, datetime]]:
    """Yield a server of the default settings with such a database, and the moment at which its rows end."""
    with PostgresServer(folder, settings=QUICKLY) as server:
        filling = Filling(server, rows, days)
        filling.run()
    with PostgresServer(folder) as server:
        yield server, filling.end


def as_reader(server: PostgresServer) -> psycopg.Connection:
    """Connect as Grafana does: as the role that can only read, with its settings."""
    return psycopg.connect(
        host=server.host, port=server.port, dbname=DATABASE, user=READER, password=PASSWORD, autocommit=True
    )
