-- The tables of the heartbeat pipeline, and everything else that its database needs: `psql -f db/schema.sql`, any number of
-- times. An older database gets the changes since, and keeps its data. This file has the tables' present form; migrations/
-- brings older tables to it. It needs PostgreSQL 14 or newer and a UTF8 database.
\set ON_ERROR_STOP on
\ir session.sql

-- Migrations -----------------------------------------------------------------------------------------------------

-- Bring the tables of an older database to their present form: each that the database has not had runs, in this order, in a
-- transaction of its own. A new database needs none.
--
-- To change a table, an index or the view:
-- 1. Change it below.
-- 2. Write a migration that makes the same change to the form before. It locks at most one table that is in use: two
--    could deadlock with a consumer.
-- 3. Add it at the end of this list. Never change a migration that was released.
-- tests/integration/test_migrations.py compares a new database with upgraded ones. Functions and comments need no
-- migration: each run replaces them.
\ir migrations/begin.sql
-- 0001 to 0007 take up every form that the tables had before migrations were numbered, so each may find its work done.
\set migration 0001-pause-older-rollups.sql
\ir migrations/once.sql
\set migration 0002-await-older-rollups.sql
\ir migrations/once.sql
\set migration 0003-last-record.sql
\ir migrations/once.sql
\set migration 0004-bound-of-the-quarantine.sql
\ir migrations/once.sql
\set migration 0005-retention-floor.sql
\ir migrations/once.sql
\set migration 0006-notes-of-an-hour.sql
\ir migrations/once.sql
\set migration 0007-rollups.sql
\ir migrations/once.sql
\set migration 0008-detail-of-a-reason.sql
\ir migrations/once.sql
\set migration 0009-words-beside-the-reason.sql
\ir migrations/once.sql
\set migration 0010-table-of-a-topic.sql
\ir migrations/once.sql
\set migration 0011-alarms.sql
\ir migrations/once.sql
\set migration 0012-duplicates.sql
\ir migrations/once.sql
\set migration 0013-log-ends.sql
\ir migrations/once.sql
\set migration 0014-pipeline-events.sql
\ir migrations/once.sql
\set migration 0015-daily-tables.sql
\ir migrations/once.sql
\set migration 0016-offsets-read-again.sql
\ir migrations/once.sql
\set migration 0017-forgotten-people.sql
\ir migrations/once.sql
\ir migrations/end.sql

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
SELECT NOT EXISTS (SELECT FROM heartbeat_migrations) AS new \gset
\if :new

-- Heartbeats -----------------------------------------------------------------------------------------------------

CREATE SEQUENCE heartbeats_by_hand_id AS bigint MAXVALUE 72057594037927935;  -- stays in generation 0

-- One partition a day (UTC): old days are dropped rather than deleted, and the indexes in use stay small.
-- customer_id compares by bytes: faster, and no index breaks when the system's collations change.
CREATE TABLE heartbeats (
    id          bigint       NOT NULL DEFAULT nextval('heartbeats_by_hand_id'),
    customer_id varchar      NOT NULL COLLATE "C" CHECK (char_length(customer_id) BETWEEN 1 AND 64),
    "timestamp" timestamptz  NOT NULL,
    heart_rate  integer      NOT NULL CHECK (heart_rate BETWEEN 1 AND 300),
    PRIMARY KEY (id, "timestamp")
) PARTITION BY RANGE ("timestamp");

-- Holds rows of days without a partition, so that no timestamp is rejected.
CREATE TABLE heartbeats_default PARTITION OF heartbeats DEFAULT;

CREATE INDEX idx_timestamp ON heartbeats ("timestamp");
CREATE INDEX idx_customer_id ON heartbeats (customer_id, "timestamp");

-- Quarantine -----------------------------------------------------------------------------------------------------

-- Autovacuum must free the space that bound_rejected() deletes within a minute or two, not after a fifth of the table.
CREATE TABLE rejected_heartbeats (
    id             bigint      PRIMARY KEY,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    "offset"       bigint      NOT NULL,
    key            bytea,
    payload        bytea,
    payload_length integer     NOT NULL,
    reason         text        NOT NULL,
    rejected_at    timestamptz NOT NULL DEFAULT now(),
    appended_at    timestamptz NOT NULL,
    detail         text
) WITH (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX idx_rejected_at ON rejected_heartbeats (rejected_at);

-- The ledger -----------------------------------------------------------------------------------------------------

CREATE TABLE kafka_topics (
    generation    smallint    PRIMARY KEY CHECK (generation BETWEEN 1 AND 127),
    topic_id      text        NOT NULL UNIQUE,
    topic         text        NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now(),
    table_name    text        NOT NULL DEFAULT 'heartbeats'
);

-- A row is updated in every transaction: free space in its page keeps these updates off the index.
CREATE TABLE kafka_ledger (
    generation       smallint    NOT NULL REFERENCES kafka_topics,
    partition        integer     NOT NULL CHECK (partition BETWEEN 0 AND 65535),
    start_offset     bigint      NOT NULL CHECK (start_offset >= 0),
    next_offset      bigint      NOT NULL CHECK (next_offset <= 1099511627776),
    stored           bigint      NOT NULL DEFAULT 0 CHECK (stored >= 0),
    rejected         bigint      NOT NULL DEFAULT 0 CHECK (rejected >= 0),
    skipped          bigint      NOT NULL DEFAULT 0 CHECK (skipped >= 0),
    expired          bigint      NOT NULL DEFAULT 0 CHECK (expired >= 0),
    replayed         bigint      NOT NULL DEFAULT 0 CHECK (replayed BETWEEN 0 AND stored),
    stored_dropped   bigint      NOT NULL DEFAULT 0 CHECK (stored_dropped BETWEEN 0 AND stored),
    rejected_dropped bigint      NOT NULL DEFAULT 0 CHECK (rejected_dropped BETWEEN 0 AND rejected),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    last_offset      bigint,
    last_fingerprint bigint,
    duplicates       bigint      NOT NULL DEFAULT 0 CHECK (duplicates >= 0),
    reread           bigint      NOT NULL DEFAULT 0 CHECK (reread >= 0),
    erased           bigint      NOT NULL DEFAULT 0 CHECK (erased >= 0),
    forgotten_version bigint     NOT NULL DEFAULT 0,
    PRIMARY KEY (generation, partition),
    CONSTRAINT books_balance
        CHECK (next_offset - start_offset + reread = stored + rejected + skipped + expired + duplicates + erased)
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- People whose older messages must not be stored again while Kafka holds them. There are no names here, but a hash of a
-- name that can be guessed is no secret: the reader has no right on this table.
CREATE TABLE forgotten (
    generation     smallint    NOT NULL,
    hash           bytea       NOT NULL CHECK (octet_length(hash) = 32),
    before_offsets bigint[]    NOT NULL,
    forgotten_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation, hash)
);

-- The ends of Kafka's logs, as the consumers last saw them: the lag is known without Kafka. Rows of a topic that was
-- re-created stay; kafka_lag ignores them.
CREATE TABLE kafka_log_ends (
    generation       smallint    NOT NULL,
    partition        integer     NOT NULL,
    log_end          bigint      NOT NULL,
    seen_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    newest_stored_at timestamptz,
    PRIMARY KEY (generation, partition)
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- Events of the pipeline -----------------------------------------------------------------------------------------

-- The writer makes the id: if the outcome of its COMMIT is unknown, it inserts the same id again. The checks
-- of lengths and drop_events() bound the table. noted_at is the database's time: no role can make its rows the newest.
CREATE TABLE pipeline_events (
    id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz CHECK (ended_at >= started_at),
    kind       text        NOT NULL CHECK (kind IN ('started', 'stopped', 'rebalance', 'fenced', 'outage',
                                                    'maintenance_failed', 'schema_upgraded', 'partition_dropped')),
    source     text        NOT NULL CHECK (char_length(source) <= 100),
    detail     text        CHECK (char_length(detail) <= 500),
    noted_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Rollups --------------------------------------------------------------------------------------------------------

-- Each transaction that stores heartbeats notes here which minutes it touched. It only inserts, so it waits for no
-- other. refresh_rollups() moves the notes to heartbeats_outdated, which has one row per minute. A minute in neither
-- table is exact in all rollups; a minute in one of them must be read from heartbeats.
CREATE TABLE heartbeats_touched (
    minute   timestamptz NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    minutes  bigint      NOT NULL DEFAULT 1
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE heartbeats_outdated (
    minute         timestamptz PRIMARY KEY,
    first_noted_at timestamptz NOT NULL,
    last_noted_at  timestamptz NOT NULL
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE heartbeats_per_minute (
    customer_id varchar     NOT NULL COLLATE "C",
    minute      timestamptz NOT NULL,
    readings    integer     NOT NULL,
    sum_bpm     bigint      NOT NULL,
    min_bpm     smallint    NOT NULL,
    max_bpm     smallint    NOT NULL,
    low         integer     NOT NULL,
    high        integer     NOT NULL,
    PRIMARY KEY (customer_id, minute)
);
CREATE INDEX idx_per_minute ON heartbeats_per_minute (minute);

CREATE TABLE heartbeats_per_customer (
    width_s     integer     NOT NULL CHECK (width_s IN (600, 3600)),
    customer_id varchar     NOT NULL COLLATE "C",
    bucket      timestamptz NOT NULL,
    readings    integer     NOT NULL,
    sum_bpm     bigint      NOT NULL,
    min_bpm     smallint    NOT NULL,
    max_bpm     smallint    NOT NULL,
    low         integer     NOT NULL,
    high        integer     NOT NULL,
    PRIMARY KEY (width_s, customer_id, bucket)
);
CREATE INDEX idx_per_customer ON heartbeats_per_customer (bucket);

CREATE TABLE heartbeats_fleet (
    width_s  integer     NOT NULL CHECK (width_s IN (10, 60, 600, 3600)),
    bucket   timestamptz NOT NULL,
    readings bigint      NOT NULL,
    sum_bpm  bigint      NOT NULL,
    min_bpm  smallint    NOT NULL,
    max_bpm  smallint    NOT NULL,
    low      bigint      NOT NULL,
    high     bigint      NOT NULL,
    p05      smallint    NOT NULL,
    p50      smallint    NOT NULL,
    p95      smallint    NOT NULL,
    bpm      smallint[]  NOT NULL,
    counts   bigint[]    NOT NULL,
    PRIMARY KEY (width_s, bucket)
);

-- What retention has dropped cannot be summed up again.
CREATE TABLE heartbeats_horizon (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    dropped_before timestamptz NOT NULL
);

-- Retention ------------------------------------------------------------------------------------------------------

-- The database's clock decides what is old. No service drops younger data than this. Only the owner can change it. The
-- columns have the names of the consumers' settings.
CREATE TABLE retention_floor (
    only_row                boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    retention_days          integer NOT NULL DEFAULT 1 CHECK (retention_days >= 1),
    rejected_retention_days integer NOT NULL DEFAULT 1 CHECK (rejected_retention_days >= 1),
    rollup_retention_days   integer NOT NULL DEFAULT 1 CHECK (rollup_retention_days >= 1),
    rejected_max_bytes      bigint  NOT NULL DEFAULT 1073741824 CHECK (rejected_max_bytes >= 67108864)
);
INSERT INTO retention_floor DEFAULT VALUES;

-- Only the owner can add a table, by partition_by_day(): maintenance drops old rows of these tables, and of no others.
CREATE TABLE daily_tables (
    table_name text PRIMARY KEY COLLATE "C" CHECK (table_name ~ '^[a-z_][a-z0-9_]{0,39}$')
);
INSERT INTO daily_tables VALUES ('heartbeats');

-- Alarms ---------------------------------------------------------------------------------------------------------

-- All three times are event times. A person has at most one open alarm of a kind.
CREATE TABLE alarms (
    customer_id varchar     NOT NULL COLLATE "C",
    kind        text        NOT NULL CHECK (kind IN ('silent', 'high', 'low', 'stuck')),
    started_at  timestamptz NOT NULL,
    noticed_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    value       smallint    NOT NULL,
    usual_low   real,
    usual_high  real,
    PRIMARY KEY (customer_id, kind, started_at)
);
CREATE UNIQUE INDEX idx_open_alarms ON alarms (customer_id, kind) WHERE ended_at IS NULL;
CREATE INDEX idx_alarms_started ON alarms (started_at);

-- The state of each person and partition for look_for_alarms(). It is updated every five seconds: free space in the
-- pages keeps these updates off the index.
CREATE TABLE alarm_people (
    customer_id  varchar     PRIMARY KEY COLLATE "C",
    partition_id bigint      NOT NULL,
    first_at     timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL,
    bpm          real        NOT NULL,
    side         smallint    NOT NULL,
    side_since   timestamptz NOT NULL,
    same_bpm     smallint,
    same_since   timestamptz,
    usual_low    real,
    usual_high   real,
    usual_at     timestamptz
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE alarm_positions (
    partition_id bigint      PRIMARY KEY,
    looked_until timestamptz NOT NULL,
    steady_since timestamptz
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- Locks ----------------------------------------------------------------------------------------------------------

-- These tables have no columns and no rows: sessions lock them. A role with only the right SELECT cannot take such a
-- lock, but any role that can run SQL can take an advisory lock.
CREATE TABLE rejected_turn ();
CREATE TABLE maintenance_turn ();
CREATE TABLE alarm_turn ();

INSERT INTO heartbeat_migrations
SELECT left(name, 4)::integer, name FROM unnest(string_to_array(rtrim(:'known'), ' ')) AS name;
\endif

-- Views ----------------------------------------------------------------------------------------------------------

-- Only if it is missing: CREATE OR REPLACE would wait for every reader's open transaction.
SELECT to_regclass('patient_heartbeats') IS NULL AS missing \gset
\if :missing
CREATE VIEW patient_heartbeats AS
SELECT
    CASE
        WHEN substring(customer_id FROM '^CUST-0*([0-9]{1,10})$')::bigint <= 2147483647
        THEN substring(customer_id FROM '^CUST-0*([0-9]{1,10})$')::integer
    END AS patient_id,
    "timestamp",
    heart_rate,
    CASE WHEN heart_rate < 60 THEN 'low' WHEN heart_rate <= 100 THEN 'normal' ELSE 'high' END::varchar AS status
FROM heartbeats;
\endif
COMMIT;

-- Comments -------------------------------------------------------------------------------------------------------

-- Each in a transaction of its own: one that locked several tables could deadlock with maintenance.
COMMENT ON TABLE heartbeats IS 'One row per heartbeat event, each exactly once; partitioned by UTC day';
COMMENT ON COLUMN heartbeats.id IS 'The event''s position in Kafka (see kafka_place); counts up from 1 for rows inserted by hand';
COMMENT ON COLUMN heartbeats.customer_id IS 'Customer, 1 to 64 characters, e.g. CUST-000001';
COMMENT ON COLUMN heartbeats."timestamp" IS 'When the heart rate was taken, by the sender''s clock';
COMMENT ON COLUMN heartbeats.heart_rate IS 'Beats per minute, 1 to 300';
COMMENT ON VIEW patient_heartbeats IS 'The same rows by patient number (NULL where customer_id is no CUST-<n>) with low/normal/high at 60 and 100';
COMMENT ON TABLE rejected_heartbeats IS 'Quarantine: messages that are no valid heartbeat, as they came, with the reason';
COMMENT ON COLUMN rejected_heartbeats.id IS 'The message''s position in Kafka, as in heartbeats (see kafka_place)';
COMMENT ON COLUMN rejected_heartbeats.key IS 'The bytes as they came, cut at consumer.max_payload_bytes';
COMMENT ON COLUMN rejected_heartbeats.payload IS 'The bytes as they came, cut at consumer.max_payload_bytes; NULL for a tombstone and for an unreadable batch';
COMMENT ON COLUMN rejected_heartbeats.payload_length IS 'Full length in bytes, also of a payload that was cut';
COMMENT ON COLUMN rejected_heartbeats.reason IS 'Stable word, see docs/architecture.md';
COMMENT ON COLUMN rejected_heartbeats.detail IS 'If PostgreSQL rejected a valid heartbeat: the SQLSTATE and the message';
COMMENT ON COLUMN rejected_heartbeats.appended_at IS 'The time by which a timestamp counts as future: the broker''s (LogAppendTime), else the later of the sender''s and the consumer''s clock. For an unreadable batch, the time of noticing. Before 2011: a sender''s, see TAKE in store/replay.py';
COMMENT ON TABLE kafka_topics IS 'The generations of topics: a re-created topic has a new id and starts at offset 0';
COMMENT ON COLUMN kafka_topics.table_name IS 'The table of its events; all topics share one quarantine';
COMMENT ON TABLE kafka_ledger IS 'The offsets taken from Kafka, advanced in the transaction that stores the rows: both happen, or neither';
COMMENT ON COLUMN kafka_ledger.start_offset IS 'The oldest offset that Kafka held when the partition was first read';
COMMENT ON COLUMN kafka_ledger.next_offset IS 'The next offset to read; this, not the consumer group''s offset, decides';
COMMENT ON COLUMN kafka_ledger.last_offset IS 'The last record that was taken; NULL when none was, or by an older version';
COMMENT ON COLUMN kafka_ledger.last_fingerprint IS 'A hash of that record: Kafka must still hold the same one; NULL when it had neither key nor value';
COMMENT ON COLUMN kafka_ledger.stored IS 'Offsets that became a row of heartbeats';
COMMENT ON COLUMN kafka_ledger.rejected IS 'Offsets in quarantine';
COMMENT ON COLUMN kafka_ledger.skipped IS 'Offsets that hold no record: transaction markers, aborted or compacted records';
COMMENT ON COLUMN kafka_ledger.expired IS 'Offsets that Kafka dropped before they were read, skipped because consumer.skip_expired is set';
COMMENT ON COLUMN kafka_ledger.duplicates IS 'Offsets whose event the table already had, by the contract''s unique fields';
COMMENT ON COLUMN kafka_ledger.erased IS 'Offsets of people who were forgotten: their rows or messages were erased, or not stored';
COMMENT ON COLUMN kafka_ledger.forgotten_version IS 'Rises whenever the table forgotten gets entries of this topic: a consumer that does not know them stores nothing';
COMMENT ON COLUMN kafka_ledger.replayed IS 'Of the stored: those that came out of quarantine';
COMMENT ON COLUMN kafka_ledger.stored_dropped IS 'Of the stored: rows that retention has dropped since, or that a reread has replaced';
COMMENT ON COLUMN kafka_ledger.rejected_dropped IS 'Of the rejected: rows that retention has dropped since, or that a reread has replaced';
COMMENT ON COLUMN kafka_ledger.reread IS 'Offsets that were read again: each is counted once more in what it became';
COMMENT ON TABLE forgotten IS 'People whose older messages are not stored again, as hashes';
COMMENT ON COLUMN forgotten.hash IS 'SHA-256 of the value of the contract''s key';
COMMENT ON COLUMN forgotten.before_offsets IS 'By partition, from 0: messages before this offset are not stored';
COMMENT ON TABLE kafka_log_ends IS 'How far Kafka''s logs reach, noted by the consumers every few seconds';
COMMENT ON COLUMN kafka_log_ends.log_end IS 'The offset of the next record in Kafka';
COMMENT ON COLUMN kafka_log_ends.newest_stored_at IS 'Time of the newest record that this consumer stored, by the broker''s clock; NULL: none yet';
COMMENT ON TABLE pipeline_events IS 'What happened to the pipeline, for dashboards and alert rules';
COMMENT ON COLUMN pipeline_events.started_at IS 'By the database''s clock, as all times of this table';
COMMENT ON COLUMN pipeline_events.ended_at IS 'The end of an outage; NULL for an event without a duration';
COMMENT ON COLUMN pipeline_events.kind IS 'outage: Kafka or PostgreSQL was away, written after it has ended; fenced: a batch was dropped because another consumer had stored it';
COMMENT ON COLUMN pipeline_events.source IS 'Service and host, e.g. consumer 3f2a; or database';
COMMENT ON COLUMN pipeline_events.noted_at IS 'When the row was written; retention counts from here';
COMMENT ON TABLE heartbeats_touched IS 'Notes of minutes whose heartbeats changed; refresh_rollups() collects them';
COMMENT ON COLUMN heartbeats_touched.minutes IS 'Bit n stands for the minute n minutes after "minute"; 1 is that minute alone';
COMMENT ON TABLE heartbeats_outdated IS 'Minutes whose rollups are older than their heartbeats; refresh_rollups() sums them up';
COMMENT ON TABLE heartbeats_per_minute IS 'Rollup per customer and minute; average: sum_bpm / readings';
COMMENT ON COLUMN heartbeats_per_minute.low IS 'Readings below 60';
COMMENT ON COLUMN heartbeats_per_minute.high IS 'Readings above 100';
COMMENT ON TABLE heartbeats_per_customer IS 'Rollup per customer of heartbeats_per_minute: per 10 minutes, and of that per hour';
COMMENT ON COLUMN heartbeats_per_customer.bucket IS 'Begin of the bucket, which is width_s seconds wide';
COMMENT ON TABLE heartbeats_fleet IS 'Rollup of all customers per 10 s, and of that per minute, 10 minutes and hour';
COMMENT ON COLUMN heartbeats_fleet.bucket IS 'Begin of the bucket, which is width_s seconds wide';
COMMENT ON COLUMN heartbeats_fleet.bpm IS 'Histogram: the heart rates that occurred, with their counts in the other array; percentiles come from it';
COMMENT ON TABLE heartbeats_horizon IS 'Retention has dropped heartbeats before this time; their rollups stay';
COMMENT ON TABLE retention_floor IS 'The fewest days that each kind of data is kept; it overrides the consumers'' settings. 1: today and yesterday (UTC)';
COMMENT ON COLUMN retention_floor.rejected_max_bytes IS 'This many bytes of the newest quarantined messages are always kept';
COMMENT ON TABLE daily_tables IS 'The tables whose daily partitions the consumers create and drop; partition_by_day() adds one';
COMMENT ON TABLE alarms IS 'Alarms about people; an alarm is open while ended_at is NULL';
COMMENT ON COLUMN alarms.kind IS 'silent: no heartbeat; high, low: outside the person''s own usual range; stuck: the same value for minutes';
COMMENT ON COLUMN alarms.started_at IS 'Timestamp of the last heartbeat before a silence; otherwise of the first heartbeat that is high, low or stuck';
COMMENT ON COLUMN alarms.noticed_at IS 'Event time up to which heartbeats had been looked at when the alarm was opened; on live data a few seconds before';
COMMENT ON COLUMN alarms.ended_at IS 'Timestamp of the first heartbeat after the alarm''s cause has ended';
COMMENT ON COLUMN alarms.value IS 'Beats per minute when the alarm was opened; for a silence, the last known ones';
COMMENT ON COLUMN alarms.usual_low IS 'Beats per minute: the lower end of the person''s usual range; NULL while it is unknown';
COMMENT ON TABLE alarm_people IS 'The state of each person for look_for_alarms()';
COMMENT ON COLUMN alarm_people.partition_id IS 'id >> 40 of the person''s heartbeats: topic generation and partition';
COMMENT ON COLUMN alarm_people.side IS '1: above the usual range, -1: below, 0: within';
COMMENT ON TABLE alarm_positions IS 'By partition: the event time up to which look_for_alarms() has looked';
COMMENT ON COLUMN alarm_positions.steady_since IS 'Since when the partition had heartbeats in each five seconds; NULL: it had none in the last five';
COMMENT ON TABLE alarm_turn IS 'Locked by the session that looks for alarms';
COMMENT ON TABLE rejected_turn IS 'Locked by the session that bounds or replays the quarantine';
COMMENT ON TABLE maintenance_turn IS 'Locked by the session that refreshes rollups, creates days'' partitions or drops old data';

-- Functions, days and checks -------------------------------------------------------------------------------------

\ir ledger.sql
\ir partitions.sql
\ir quarantine.sql
\ir retention.sql
\ir rollups.sql
\ir alarms.sql
\ir objects.sql

RESET client_min_messages;
RESET DateStyle;
RESET search_path;
RESET lock_timeout;
