-- The tables of the heartbeat pipeline. Run it any number of times on the same database, by `psql -f` or any driver:
-- what is there already stays as it is. It needs PostgreSQL 14 or newer and a UTF8 database.

SET client_min_messages = warning;
-- Whoever holds a lock that we need, such as a reader's open transaction, makes this fail, not hang.
SET lock_timeout = '60s';
-- Also in functions that write a time into a statement. 'SQL' would write its zone as IST, say, and read that as another.
SET DateStyle = 'ISO, MDY';

-- Everything is created in the first schema of the search path, and our functions look nowhere else: not in one that is
-- named as their caller, and in pg_temp, which anybody may fill, last.
DO $$
DECLARE
    home name := (SELECT name FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
                  WHERE name !~ '^pg_' ORDER BY place LIMIT 1);
BEGIN
    IF home IS NULL THEN
        RAISE 'there is no schema to create the tables in: search_path is %', current_setting('search_path')
            USING HINT = 'CREATE SCHEMA public; or set search_path to a schema that exists.';
    END IF;
    PERFORM set_config('search_path', format('%I, pg_temp', home), false);
END
$$;

-- One at a time: two sessions that create the same table at once would fail, IF NOT EXISTS or not. They take turns by a
-- lock on this table, in each of the transactions below. Transactions are short, for the sake of running consumers. A
-- lock that anybody can take, such as an advisory lock, would let a reader stop an upgrade.
DO $$
BEGIN
    CREATE TABLE IF NOT EXISTS schema_turn ();
EXCEPTION WHEN unique_violation OR duplicate_table THEN NULL;  -- another session has made it at this moment
END
$$;

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
COMMENT ON TABLE schema_turn IS 'Locked by the session that applies db/schema.sql or db/roles.sql';

-- Where an event stood in Kafka, packed into the 63 bits of a positive bigint: which of the topics that bore the
-- name (7 bits; 0: inserted by hand), partition (16), offset (40). A second copy of an event breaks the primary key.

CREATE OR REPLACE FUNCTION kafka_place_id(generation integer, partition integer, "offset" bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (generation::bigint << 56) | (partition::bigint << 40) | "offset";
COMMENT ON FUNCTION kafka_place_id IS 'The id of the row made from this place in Kafka';

CREATE OR REPLACE FUNCTION kafka_place(id bigint, OUT generation integer, OUT partition integer, OUT "offset" bigint)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((id >> 56)::integer, ((id >> 40) & 65535)::integer, id & 1099511627775);
COMMENT ON FUNCTION kafka_place IS 'The place in Kafka that a row''s id was made from: SELECT (kafka_place(id)).* FROM heartbeats';

COMMIT;

-- Heartbeats -----------------------------------------------------------------------------------------------------

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
CREATE SEQUENCE IF NOT EXISTS heartbeats_by_hand_id AS bigint MAXVALUE 72057594037927935;  -- stays in generation 0

-- One partition a day (UTC): old days are dropped rather than deleted, and the indexes in use stay small.
-- customer_id compares by bytes: faster, and no index breaks when the system's collations change.
CREATE TABLE IF NOT EXISTS heartbeats (
    id          bigint       NOT NULL DEFAULT nextval('heartbeats_by_hand_id'),
    customer_id varchar      NOT NULL COLLATE "C" CHECK (char_length(customer_id) BETWEEN 1 AND 64),
    "timestamp" timestamptz  NOT NULL,
    heart_rate  integer      NOT NULL CHECK (heart_rate BETWEEN 1 AND 300),
    PRIMARY KEY (id, "timestamp")
) PARTITION BY RANGE ("timestamp");

-- No timestamp is refused: what has no day of its own is stored here.
CREATE TABLE IF NOT EXISTS heartbeats_default PARTITION OF heartbeats DEFAULT;

CREATE INDEX IF NOT EXISTS idx_timestamp ON heartbeats ("timestamp");
CREATE INDEX IF NOT EXISTS idx_customer_id ON heartbeats (customer_id, "timestamp");

COMMENT ON TABLE heartbeats IS 'One row per heartbeat event, each exactly once; partitioned by UTC day';
COMMENT ON COLUMN heartbeats.id IS 'The event''s place in Kafka (see kafka_place); counts up from 1 for rows inserted by hand';
COMMENT ON COLUMN heartbeats.customer_id IS 'Customer, 1 to 64 characters, e.g. CUST-000001';
COMMENT ON COLUMN heartbeats."timestamp" IS 'When the heart rate was taken, by the sender''s clock';
COMMENT ON COLUMN heartbeats.heart_rate IS 'Beats per minute, 1 to 300';
COMMIT;

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;

-- Gives a stretch of time a partition of its own; rows of that time that wait in the default partition move along. False
-- if there is one already, if another partition holds a part of that time, or if so many rows wait (`most`: 0.2 s)
-- that moving them would hold up their writers: they are as safe where they are, and retention finds them there, too.
-- Lock order, as in DROP TABLE: the table, then its default partition. The first lock lets one session at a time in, the
-- second waits for those who write to the default partition, and nobody else.
CREATE OR REPLACE FUNCTION attach_heartbeats(
    partition_name text, first_moment timestamptz, next_moment timestamptz, most integer DEFAULT 10000
) RETURNS boolean
    LANGUAGE plpgsql SET search_path FROM CURRENT SET datestyle = 'ISO, MDY' SET timezone = 'UTC'
AS $$
BEGIN
    IF to_regclass(partition_name) IS NOT NULL THEN
        RETURN false;
    END IF;
    LOCK TABLE ONLY heartbeats IN SHARE UPDATE EXCLUSIVE MODE;
    FOR turn IN 1..2 LOOP  -- first without the other lock: a day that cannot be made holds up no writer
        IF turn = 2 THEN
            LOCK TABLE heartbeats_default IN ACCESS EXCLUSIVE MODE;
        END IF;
        IF to_regclass(partition_name) IS NOT NULL
            OR (SELECT count(*) > most FROM (SELECT FROM heartbeats_default
                                             WHERE "timestamp" >= first_moment AND "timestamp" < next_moment
                                             LIMIT most + 1) AS waiting) THEN
            RETURN false;
        END IF;
    END LOOP;
    EXECUTE format('CREATE TABLE %I (LIKE heartbeats INCLUDING ALL)', partition_name);
    EXECUTE format(
        'WITH moved AS (DELETE FROM heartbeats_default WHERE "timestamp" >= %L AND "timestamp" < %L RETURNING *)
         INSERT INTO %I SELECT * FROM moved', first_moment, next_moment, partition_name);
    EXECUTE format('ALTER TABLE heartbeats ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        partition_name, first_moment, next_moment);
    RETURN true;
EXCEPTION WHEN invalid_object_definition THEN  -- it would overlap another one
    RETURN false;
END
$$;
REVOKE EXECUTE ON FUNCTION attach_heartbeats FROM PUBLIC;
COMMENT ON FUNCTION attach_heartbeats IS 'Gives a stretch of time a partition of its own; false if it has one, or cannot get one';

-- Days that anybody but the owner gets made are bounded: odd timestamps, or a stolen role, make no endless tables.
CREATE OR REPLACE FUNCTION make_heartbeats_partition(day date) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
    RETURN CASE
        WHEN day BETWEEN (now() AT TIME ZONE 'UTC')::date - 60 AND (now() AT TIME ZONE 'UTC')::date + 7
            OR pg_has_role(session_user, current_user, 'MEMBER')
        THEN attach_heartbeats(
            'heartbeats_' || to_char(day, 'YYYYMMDD'),
            day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC')
        ELSE false
    END;
REVOKE EXECUTE ON FUNCTION make_heartbeats_partition FROM PUBLIC;
COMMENT ON FUNCTION make_heartbeats_partition IS
    'Gives a UTC day its own partition; false if it has one, or cannot get one. For the owner any day, else -60 to +7 days';
COMMIT;

-- The coming days, and one partition for all days that are too old to get one of their own: each new partition makes
-- PostgreSQL read the default partition under a lock, which must stay short however many old rows are kept. A day whose
-- lock is not to be had, because a reader's transaction stays open, is left to the consumer's maintenance.
BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
DO $$
DECLARE
    patience text := current_setting('lock_timeout');
    today date := (now() AT TIME ZONE 'UTC')::date;
    oldest date;
BEGIN
    PERFORM set_config('lock_timeout', '1s', true);
    BEGIN
        FOR day IN -1..7 LOOP
            PERFORM make_heartbeats_partition(today + day);
        END LOOP;
    EXCEPTION WHEN lock_not_available THEN
        RAISE WARNING 'cannot make the coming days'' partitions now: a transaction uses heartbeats';
    END;
    PERFORM set_config('lock_timeout', patience, true);
    SELECT least(today - 60, min(to_date(substring(relname FROM '[0-9]{8}$'), 'YYYYMMDD'))) INTO oldest
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'heartbeats'::regclass AND relname ~ '^heartbeats_[0-9]{8}$';
    -- Once, and however many wait there: 10 microseconds a row.
    PERFORM attach_heartbeats('heartbeats_old', '-infinity', oldest::timestamp AT TIME ZONE 'UTC', 2147483646);
END
$$;
COMMIT;

-- Quarantine -----------------------------------------------------------------------------------------------------

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
CREATE TABLE IF NOT EXISTS rejected_heartbeats (
    id             bigint      PRIMARY KEY,
    topic          text        NOT NULL,
    partition      integer     NOT NULL,
    "offset"       bigint      NOT NULL,
    key            bytea,
    payload        bytea,
    payload_length integer     NOT NULL,
    reason         text        NOT NULL,
    rejected_at    timestamptz NOT NULL DEFAULT now(),
    appended_at    timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS idx_rejected_at ON rejected_heartbeats (rejected_at);

COMMENT ON TABLE rejected_heartbeats IS 'Quarantine: messages that are no valid heartbeat, as they came, with the reason';
COMMENT ON COLUMN rejected_heartbeats.id IS 'The message''s place in Kafka, numbered as in heartbeats (see kafka_place)';
COMMENT ON COLUMN rejected_heartbeats.key IS 'The bytes as they came, cut at consumer.max_payload_bytes';
COMMENT ON COLUMN rejected_heartbeats.payload IS 'The bytes as they came, cut at consumer.max_payload_bytes; NULL for a tombstone and for an unreadable batch';
COMMENT ON COLUMN rejected_heartbeats.payload_length IS 'Full length in bytes, also of a payload that was cut';
COMMENT ON COLUMN rejected_heartbeats.reason IS 'Stable word, see docs/architecture.md; what PostgreSQL refused carries its words';
COMMENT ON COLUMN rejected_heartbeats.appended_at IS 'The time by which a timestamp counts as future: the broker''s (LogAppendTime), else the later of the sender''s and the consumer''s clock. For an unreadable batch, the time of noticing. Before 2011: a sender''s, see TAKE in consumer/replay.py';

-- What bound_rejected() deletes is to be free for what comes next within a minute or two, not after a fifth of the table.
ALTER TABLE rejected_heartbeats SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_cost_delay = 0);

-- One session at a time bounds or replays the quarantine, by a lock on this table: who may only read cannot take it.
CREATE TABLE IF NOT EXISTS rejected_turn ();
COMMENT ON TABLE rejected_turn IS 'Locked by the session that bounds or replays the quarantine';
COMMIT;

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
CREATE OR REPLACE FUNCTION rejected_turn() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    LOCK TABLE rejected_turn IN EXCLUSIVE MODE;
END
$$;
REVOKE EXECUTE ON FUNCTION rejected_turn FROM PUBLIC;
COMMENT ON FUNCTION rejected_turn IS 'Waits for the turn with the quarantine, and keeps it until the transaction ends';

-- Deletes the oldest messages until the rest takes no more than max_bytes, whatever their age: a flood must not fill the
-- disk. At most so many at a time, and a gigabyte. What retention_floor.rejected_max_bytes holds is always kept.
-- Nothing is measured while all files together are smaller than that (they do not shrink when rows are deleted). Up to
-- 4,000 pages of rows (some 100,000 messages; large payloads lie elsewhere) are measured exactly, more by a sample.
CREATE OR REPLACE FUNCTION bound_rejected(max_bytes bigint, most integer DEFAULT 50000) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    allowed bigint := greatest(max_bytes, (SELECT rejected_max_bytes FROM retention_floor), 64 * 1024 * 1024);
    on_disk bigint := pg_total_relation_size('rejected_heartbeats');
    pages bigint := pg_relation_size('rejected_heartbeats') / current_setting('block_size')::integer;
    percent float8 := least(100, 100.0 * 4000 / greatest(pages, 1));
    fixed_bytes CONSTANT integer := 150;  -- a row's other columns and headers, and its entries in two indexes
    surplus bigint;
    dropped bigint;
BEGIN
    IF on_disk <= allowed THEN
        RETURN 0;
    END IF;
    BEGIN
        LOCK TABLE rejected_turn IN EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        RETURN 0;
    END;
    SELECT least(on_disk, 100 / percent * coalesce(sum(
        fixed_bytes + pg_column_size(reason) + coalesce(pg_column_size(key), 0) + coalesce(pg_column_size(payload), 0)
    ), 0)) - allowed INTO surplus FROM rejected_heartbeats TABLESAMPLE SYSTEM (percent);
    WITH oldest AS (
        SELECT id, rejected_at, fixed_bytes + pg_column_size(reason) + coalesce(pg_column_size(key), 0)
                                + coalesce(pg_column_size(payload), 0) AS bytes
        FROM rejected_heartbeats ORDER BY rejected_at, id LIMIT CASE WHEN surplus > 0 THEN most ELSE 0 END
    ), summed AS (
        SELECT id, sum(bytes) OVER (ORDER BY rejected_at, id) - bytes AS older_bytes FROM oldest
    ), gone AS (
        DELETE FROM rejected_heartbeats WHERE id IN (
            SELECT id FROM summed WHERE older_bytes < least(surplus, 1024 * 1024 * 1024))
        RETURNING id
    ), tally AS (
        SELECT (id >> 56)::smallint AS generation, ((id >> 40) & 65535)::integer AS partition, count(*) AS number
        FROM gone GROUP BY 1, 2
    ), booked AS (
        UPDATE kafka_ledger AS ledger SET rejected_dropped = rejected_dropped + tally.number
        FROM tally WHERE ledger.generation = tally.generation AND ledger.partition = tally.partition
    )
    SELECT count(*) INTO dropped FROM gone;
    RETURN dropped;
END
$$;
REVOKE EXECUTE ON FUNCTION bound_rejected FROM PUBLIC;
COMMENT ON FUNCTION bound_rejected IS 'Deletes the oldest quarantined messages beyond so many bytes, tallied in kafka_ledger.rejected_dropped; returns how many';

COMMIT;

-- The books ------------------------------------------------------------------------------------------------------

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
CREATE TABLE IF NOT EXISTS kafka_topics (
    generation    smallint    PRIMARY KEY CHECK (generation BETWEEN 1 AND 127),
    topic_id      text        NOT NULL UNIQUE,
    topic         text        NOT NULL,
    first_seen_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE kafka_topics IS 'Numbers the topics that were read: a topic deleted and made again has a new id and starts at offset 0';

-- A row is updated in every transaction: room in its page keeps those updates off the index.
CREATE TABLE IF NOT EXISTS kafka_ledger (
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
    PRIMARY KEY (generation, partition),
    CONSTRAINT books_balance CHECK (next_offset - start_offset = stored + rejected + skipped + expired)
) WITH (fillfactor = 10, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- ALTER TABLE waits for readers, too, even if there is nothing to do.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'kafka_ledger'::regclass AND attname = 'last_fingerprint') THEN
        ALTER TABLE kafka_ledger ADD COLUMN IF NOT EXISTS last_offset bigint, ADD COLUMN last_fingerprint bigint;
    END IF;
END
$$;

COMMENT ON TABLE kafka_ledger IS 'What was taken from Kafka: advanced in the transaction that stores the rows, so both happen or neither';
COMMENT ON COLUMN kafka_ledger.start_offset IS 'Where the books begin: the oldest offset Kafka held when the partition was first read';
COMMENT ON COLUMN kafka_ledger.next_offset IS 'The next offset to read; this, not the consumer group''s offset, decides';
COMMENT ON COLUMN kafka_ledger.last_offset IS 'The last record that was taken; NULL when none was, or by an older version';
COMMENT ON COLUMN kafka_ledger.last_fingerprint IS 'A hash of that record: Kafka must still hold the same one; NULL when it had neither key nor value';
COMMENT ON COLUMN kafka_ledger.stored IS 'Offsets that became a row of heartbeats';
COMMENT ON COLUMN kafka_ledger.rejected IS 'Offsets in quarantine';
COMMENT ON COLUMN kafka_ledger.skipped IS 'Offsets that hold no record: transaction markers, aborted or compacted records';
COMMENT ON COLUMN kafka_ledger.expired IS 'Offsets Kafka dropped before they were read, passed because consumer.skip_expired said so';
COMMENT ON COLUMN kafka_ledger.replayed IS 'Of the stored: those that came out of quarantine';
COMMENT ON COLUMN kafka_ledger.stored_dropped IS 'Of the stored: rows that retention has dropped since';
COMMENT ON COLUMN kafka_ledger.rejected_dropped IS 'Of the rejected: rows that retention has dropped since';
COMMIT;

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;

-- The number for a new topic; the caller has locked kafka_topics. Numbers rise as long as there are any, so that none is
-- mistaken for another. After that, one without a row is used again: one that was given to nobody, or the oldest topic's
-- that was made again since and whose rows were all dropped by retention; its part of the books goes with it.
CREATE OR REPLACE FUNCTION free_generation() RETURNS smallint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    one smallint := coalesce((SELECT max(generation) FROM kafka_topics), 0) + 1;
BEGIN
    IF one <= 127 THEN
        RETURN one;
    END IF;
    FOR one IN
        SELECT number FROM generate_series(1, 127) AS number LEFT JOIN kafka_topics AS known ON generation = number
        WHERE topic IS NULL
           OR (EXISTS (SELECT FROM kafka_topics WHERE topic = known.topic AND first_seen_at > known.first_seen_at)
               AND NOT EXISTS (SELECT FROM kafka_ledger WHERE generation = number
                               AND (stored <> stored_dropped OR rejected <> rejected_dropped)))
        ORDER BY first_seen_at NULLS FIRST, number
    LOOP
        CONTINUE WHEN EXISTS (SELECT FROM heartbeats
                              WHERE id BETWEEN kafka_place_id(one, 0, 0) AND kafka_place_id(one, 65535, 1099511627775))
                   OR EXISTS (SELECT FROM rejected_heartbeats
                              WHERE id BETWEEN kafka_place_id(one, 0, 0) AND kafka_place_id(one, 65535, 1099511627775));
        DELETE FROM kafka_ledger WHERE generation = one;
        DELETE FROM kafka_topics WHERE generation = one;
        RETURN one;
    END LOOP;
    RETURN NULL;
END
$$;
REVOKE EXECUTE ON FUNCTION free_generation FROM PUBLIC;
COMMENT ON FUNCTION free_generation IS 'The number for a new topic; NULL if there is none. It may take that of an older topic without rows';
COMMIT;

-- Maintenance ----------------------------------------------------------------------------------------------------

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
-- One session at a time maintains the tables. It holds a lock on this table, which has no columns and no rows: the
-- reader's right to SELECT does not reach that lock, whereas anyone who can run SQL can take an advisory lock.
CREATE TABLE IF NOT EXISTS maintenance_turn ();
COMMENT ON TABLE maintenance_turn IS 'Locked by the session that refreshes rollups, makes days or drops old data';

CREATE OR REPLACE FUNCTION maintenance_turn() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    LOCK TABLE maintenance_turn IN EXCLUSIVE MODE NOWAIT;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$;
REVOKE EXECUTE ON FUNCTION maintenance_turn FROM PUBLIC;
COMMENT ON FUNCTION maintenance_turn IS 'Takes the turn until the transaction ends; false if another session has it';

COMMIT;

-- Rollups --------------------------------------------------------------------------------------------------------

-- An older version's refresh_rollups(), called by running consumers, rests until the tables that it does not know have
-- their function. One that has begun is waited for below, where those tables are filled.
BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_proc WHERE oid = to_regprocedure('refresh_rollups(integer)') AND prosrc ~ 'heartbeat rollups') THEN
        CREATE OR REPLACE FUNCTION refresh_rollups(most integer DEFAULT 10) RETURNS integer
            LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT RETURN NULL::integer;
    END IF;
END
$$;
COMMIT;

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
-- Each transaction that stores heartbeats notes here which minutes it touched. It only inserts, so it waits for no
-- other. refresh_rollups() moves the notes to heartbeats_outdated, which has one row per minute. A minute in neither
-- table is exact in all rollups; a minute in one of them must be read from heartbeats.
CREATE TABLE IF NOT EXISTS heartbeats_touched (
    minute   timestamptz NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    minutes  bigint      NOT NULL DEFAULT 1
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'heartbeats_touched'::regclass AND attname = 'minutes') THEN
        ALTER TABLE heartbeats_touched ADD COLUMN minutes bigint NOT NULL DEFAULT 1;
    END IF;
END
$$;
COMMENT ON TABLE heartbeats_touched IS 'Notes of minutes whose heartbeats changed; refresh_rollups() collects them';
COMMENT ON COLUMN heartbeats_touched.minutes IS 'Bit n stands for the minute n minutes after "minute"; 1 is that minute alone';

CREATE TABLE IF NOT EXISTS heartbeats_outdated (
    minute         timestamptz PRIMARY KEY,
    first_noted_at timestamptz NOT NULL,
    last_noted_at  timestamptz NOT NULL
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE heartbeats_outdated IS 'Minutes whose rollups are older than their heartbeats; refresh_rollups() sums them up';

COMMIT;

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
CREATE OR REPLACE FUNCTION noted_minutes(begins timestamptz, ends timestamptz) RETURNS SETOF timestamptz
    LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT minute FROM heartbeats_outdated WHERE minute > begins - interval '1 min' AND minute <= ends
    UNION
    SELECT noted.minute
    FROM (
        SELECT hours.minute + n * interval '1 min' AS minute
        FROM (
            SELECT minute, bit_or(minutes) AS minutes FROM heartbeats_touched
            WHERE minute > begins - interval '64 min' AND minute <= ends GROUP BY minute
        ) AS hours, generate_series(0, 62) AS n WHERE minutes & (1::bigint << n) <> 0
    ) AS noted
    WHERE noted.minute > begins - interval '1 min' AND noted.minute <= ends;
END;
COMMENT ON FUNCTION noted_minutes IS 'The minutes from begins to ends whose rollups are older than their heartbeats';

CREATE TABLE IF NOT EXISTS heartbeats_per_minute (
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
CREATE INDEX IF NOT EXISTS idx_per_minute ON heartbeats_per_minute (minute);
COMMENT ON TABLE heartbeats_per_minute IS 'Rollup per customer and minute; average: sum_bpm / readings';
COMMENT ON COLUMN heartbeats_per_minute.low IS 'Readings below 60';
COMMENT ON COLUMN heartbeats_per_minute.high IS 'Readings above 100';

CREATE TABLE IF NOT EXISTS heartbeats_per_customer (
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
CREATE INDEX IF NOT EXISTS idx_per_customer ON heartbeats_per_customer (bucket);
COMMENT ON TABLE heartbeats_per_customer IS 'Rollup per customer of heartbeats_per_minute: per 10 minutes, and of that per hour';
COMMENT ON COLUMN heartbeats_per_customer.bucket IS 'Begin of the bucket, which is width_s seconds wide';

COMMIT;

-- A database that was filled before there was this table. An older refresh_rollups() begins with the notes: when these
-- can be locked, none is under way.
BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM heartbeats_per_customer) AND EXISTS (SELECT FROM heartbeats_per_minute) THEN
        LOCK TABLE heartbeats_touched IN SHARE ROW EXCLUSIVE MODE;
    END IF;
END
$$;
COMMIT;
BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM heartbeats_per_customer) THEN
        INSERT INTO heartbeats_per_customer
        SELECT 600, customer_id, date_bin(interval '10 min', minute, timestamptz '0001-01-01 00:00:00+00') AS bucket,
               sum(readings), sum(sum_bpm), min(min_bpm), max(max_bpm), sum(low), sum(high)
        FROM heartbeats_per_minute GROUP BY customer_id, bucket;
        INSERT INTO heartbeats_per_customer
        SELECT 3600, customer_id, date_bin(interval '1 h', bucket, timestamptz '0001-01-01 00:00:00+00') AS hour,
               sum(readings), sum(sum_bpm), min(min_bpm), max(max_bpm), sum(low), sum(high)
        FROM heartbeats_per_customer WHERE width_s = 600 GROUP BY customer_id, hour;
    END IF;
END
$$;

COMMIT;

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
CREATE TABLE IF NOT EXISTS heartbeats_fleet (
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
COMMENT ON TABLE heartbeats_fleet IS 'Rollup of all customers per 10 s, and of that per minute, 10 minutes and hour';
COMMENT ON COLUMN heartbeats_fleet.bucket IS 'Begin of the bucket, which is width_s seconds wide';
COMMENT ON COLUMN heartbeats_fleet.bpm IS 'Histogram: the heart rates that occurred, with their counts in the other array; percentiles come from it';

-- What retention has dropped cannot be summed up again.
CREATE TABLE IF NOT EXISTS heartbeats_horizon (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    dropped_before timestamptz NOT NULL
);
COMMENT ON TABLE heartbeats_horizon IS 'Retention has dropped heartbeats from before this; their rollups stay as they are';

COMMIT;

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
-- For rows that a person inserted, changed or deleted: the consumers note only what they store themselves.
CREATE OR REPLACE FUNCTION note_heartbeats(begins timestamptz, ends timestamptz) RETURNS bigint
    LANGUAGE sql
BEGIN ATOMIC
    WITH noted AS (
        INSERT INTO heartbeats_touched (minute)
        SELECT date_bin(interval '1 min', "timestamp", timestamptz '0001-01-01 00:00:00+00')
        FROM heartbeats WHERE "timestamp" >= begins AND "timestamp" < ends
        UNION
        SELECT minute FROM heartbeats_per_minute WHERE minute > begins - interval '1 min' AND minute < ends
        RETURNING 1
    )
    SELECT count(*) FROM noted;
END;
COMMENT ON FUNCTION note_heartbeats IS 'Has the rollups of a range summed up again, after rows were changed by hand; returns the minutes noted';

-- Sums histograms up into one row of heartbeats_fleet.
CREATE OR REPLACE FUNCTION sum_up_fleet(width_s integer, bucket timestamptz, bpm smallint[], counts bigint[])
    RETURNS heartbeats_fleet LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (
    WITH summed AS (
        SELECT rate, sum(number)::bigint AS number FROM unnest(bpm, counts) AS pair (rate, number) GROUP BY rate
    ), ranked AS (
        SELECT rate, number, sum(number) OVER (ORDER BY rate) AS up_to, sum(number) OVER () AS total FROM summed
    )
    SELECT ROW(
        width_s, bucket, sum(number)::bigint, sum(number * rate)::bigint, min(rate), max(rate),
        coalesce(sum(number) FILTER (WHERE rate < 60), 0)::bigint,
        coalesce(sum(number) FILTER (WHERE rate > 100), 0)::bigint,
        min(rate) FILTER (WHERE up_to >= 0.05 * total), min(rate) FILTER (WHERE up_to >= 0.5 * total),
        min(rate) FILTER (WHERE up_to >= 0.95 * total),
        array_agg(rate ORDER BY rate), array_agg(number ORDER BY rate)
    )::heartbeats_fleet FROM ranked
);

-- The rollups of one stretch of heartbeats, from the rows themselves: for the minutes that have notes.
CREATE OR REPLACE FUNCTION fleet_from_heartbeats(begins timestamptz, ends timestamptz) RETURNS SETOF heartbeats_fleet
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT fleet.*  -- from a LATERAL, not (sum_up_fleet(...)).*, which calls it once for each column
    FROM (
        SELECT bucket, array_agg(heart_rate::smallint) AS bpm, array_agg(number) AS counts
        FROM (
            SELECT date_bin(interval '10 s', "timestamp", timestamptz '0001-01-01 00:00:00+00') AS bucket, heart_rate,
                   count(*) AS number
            FROM heartbeats WHERE "timestamp" >= begins AND "timestamp" < ends GROUP BY 1, 2
        ) AS counted
        GROUP BY bucket
    ) AS histogram, LATERAL sum_up_fleet(10, bucket, histogram.bpm, histogram.counts) AS fleet;
END;

-- Sums up each noted minute once it has been quiet for five seconds, or noted for a minute; the newest first, at most
-- about two seconds long. A note is deleted first and the sums are taken after: what is stored in between leaves a note
-- of its own. Retention drops nothing meanwhile, as it needs the same turn: a minute that it dropped lies before the
-- horizon, which is read after the turn is taken.
CREATE OR REPLACE FUNCTION refresh_rollups(most integer DEFAULT 10) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET "TimeZone" TO 'UTC' SET "DateStyle" TO 'ISO'
AS $$
DECLARE
    enough_at timestamptz := clock_timestamp() + interval '2 s';
    picked timestamptz[] := '{}';
    horizon timestamptz;
    wide integer;
    fine integer := 10;
    one timestamptz;
BEGIN
    IF NOT maintenance_turn() THEN
        RETURN NULL;
    END IF;
    horizon := coalesce((SELECT dropped_before FROM heartbeats_horizon), '-infinity');
    WITH taken AS (
        DELETE FROM heartbeats_touched WHERE ctid = ANY (ARRAY(SELECT ctid FROM heartbeats_touched LIMIT 100000))
        RETURNING minute, minutes, noted_at
    ), noted AS (
        SELECT date_bin(interval '1 min', minute, timestamptz '0001-01-01 00:00:00+00') AS minute,
               bit_or(minutes) AS minutes, min(noted_at) AS first_at, max(noted_at) AS last_at
        FROM taken WHERE isfinite(minute) GROUP BY 1
    )
    INSERT INTO heartbeats_outdated AS queue
    SELECT minute + n * interval '1 min' AS one_minute, min(first_at), max(last_at)
    FROM noted, generate_series(0, 62) AS n WHERE minutes & (1::bigint << n) <> 0 GROUP BY one_minute
    ON CONFLICT (minute) DO UPDATE SET first_noted_at = least(queue.first_noted_at, excluded.first_noted_at),
                                       last_noted_at = greatest(queue.last_noted_at, excluded.last_noted_at);
    DELETE FROM heartbeats_outdated WHERE minute < horizon;

    FOREACH one IN ARRAY ARRAY(  -- one minute at a time: its bounds let the planner see a single day's partition
        SELECT minute FROM heartbeats_outdated
        WHERE last_noted_at < clock_timestamp() - interval '5 s' OR first_noted_at < clock_timestamp() - interval '60 s'
        ORDER BY minute DESC LIMIT most)
    LOOP
        EXIT WHEN picked <> '{}' AND clock_timestamp() > enough_at;
        DELETE FROM heartbeats_outdated WHERE minute = one;
        DELETE FROM heartbeats_per_minute WHERE minute = one;
        EXECUTE format(
            'INSERT INTO heartbeats_per_minute
             SELECT customer_id, %1$L::timestamptz, count(*), sum(heart_rate), min(heart_rate), max(heart_rate),
                    count(*) FILTER (WHERE heart_rate < 60), count(*) FILTER (WHERE heart_rate > 100)
             FROM heartbeats WHERE "timestamp" >= %1$L AND "timestamp" < %2$L GROUP BY customer_id',
            one, one + interval '1 minute');
        DELETE FROM heartbeats_fleet WHERE width_s = 10 AND bucket >= one AND bucket < one + interval '1 minute';
        INSERT INTO heartbeats_fleet SELECT * FROM fleet_from_heartbeats(one, one + interval '1 minute');
        picked := picked || one;
    END LOOP;
    FOREACH wide IN ARRAY ARRAY[60, 600, 3600] LOOP
        FOR one IN
            SELECT DISTINCT date_bin(make_interval(secs => wide), minute, timestamptz '0001-01-01 00:00:00+00') FROM unnest(picked) AS minute
        LOOP
            IF wide = 600 THEN
                DELETE FROM heartbeats_per_customer WHERE width_s = wide AND bucket = one;
                INSERT INTO heartbeats_per_customer
                SELECT wide, customer_id, one, sum(readings), sum(sum_bpm), min(min_bpm), max(max_bpm), sum(low), sum(high)
                FROM heartbeats_per_minute
                WHERE minute >= one AND minute < one + make_interval(secs => wide) GROUP BY customer_id;
            ELSIF wide = 3600 THEN
                DELETE FROM heartbeats_per_customer WHERE width_s = wide AND bucket = one;
                INSERT INTO heartbeats_per_customer
                SELECT wide, customer_id, one, sum(readings), sum(sum_bpm), min(min_bpm), max(max_bpm), sum(low), sum(high)
                FROM heartbeats_per_customer
                WHERE width_s = fine AND bucket >= one AND bucket < one + make_interval(secs => wide) GROUP BY customer_id;
            END IF;
            DELETE FROM heartbeats_fleet WHERE width_s = wide AND bucket = one;
            INSERT INTO heartbeats_fleet
            SELECT fleet.*
            FROM (
                SELECT array_agg(rate) AS bpm, array_agg(number) AS counts
                FROM heartbeats_fleet, unnest(bpm, counts) AS pair (rate, number)
                WHERE width_s = fine AND bucket >= one AND bucket < one + make_interval(secs => wide)
                HAVING count(*) > 0
            ) AS histogram, LATERAL sum_up_fleet(wide, one, histogram.bpm, histogram.counts) AS fleet;
        END LOOP;
        fine := wide;
    END LOOP;
    RETURN cardinality(picked);
END
$$;
REVOKE EXECUTE ON FUNCTION refresh_rollups FROM PUBLIC;
COMMENT ON FUNCTION refresh_rollups IS 'Sums up minutes whose heartbeats changed; returns how many, NULL while another session has the turn';

-- The width of the rollup's buckets, in seconds, that draws a line of 100 to 720 points over a range.
CREATE OR REPLACE FUNCTION fleet_width(begins timestamptz, ends timestamptz) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN ends - begins <= interval '65 min' THEN 10 WHEN ends - begins <= interval '6 h' THEN 60
                WHEN ends - begins <= interval '50 h' THEN 600 ELSE 3600 END;

-- For dashboards: the coarsest rollup that still draws a line, and heartbeats themselves for minutes that have notes.
CREATE OR REPLACE FUNCTION fleet_history(begins timestamptz, ends timestamptz) RETURNS SETOF heartbeats_fleet
    LANGUAGE plpgsql STABLE
AS $$
DECLARE
    width integer := fleet_width(begins, ends);
    noted timestamptz[] := '{}';
BEGIN
    IF width = 10 THEN
        noted := ARRAY(SELECT noted_minutes(begins, ends));  -- an array, so that no plan joins with the notes
    END IF;
    RETURN QUERY
        SELECT * FROM heartbeats_fleet AS fleet
        WHERE width_s = width AND bucket >= date_bin(make_interval(secs => width), begins, timestamptz '0001-01-01 00:00:00+00') AND bucket <= ends
          AND date_bin(interval '1 minute', bucket, timestamptz '0001-01-01 00:00:00+00') <> ALL (noted);
    RETURN QUERY
        SELECT fresh.* FROM unnest(noted) AS minute,
             LATERAL fleet_from_heartbeats(greatest(minute, date_bin(interval '10 s', begins, timestamptz '0001-01-01 00:00:00+00')),
                                           least(minute + interval '1 minute', ends)) AS fresh;
END
$$;
COMMENT ON FUNCTION fleet_history IS 'The fleet from begins to ends in about 100 to 720 buckets, exact up to the last seconds for ranges up to an hour';

-- The same for chosen customers: 1, each reading is drawn, or the width of the rollup's buckets. By the points to draw,
-- arbitrary: each is read from a page of its own, so that this is also what keeps a panel under a tenth of a second.
CREATE OR REPLACE FUNCTION customer_width(begins timestamptz, ends timestamptz, customers varchar[]) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN cardinality(customers) * extract(epoch FROM ends - begins) <= 20000 THEN 1
                WHEN cardinality(customers) * extract(epoch FROM ends - begins) <= 60 * 10000 THEN 60
                WHEN cardinality(customers) * extract(epoch FROM ends - begins) <= 600 * 10000 THEN 600 ELSE 3600 END;

-- For dashboards, beside the readings themselves: nothing where customer_width() says that those are drawn.
CREATE OR REPLACE FUNCTION customer_history(
    customers varchar[], begins timestamptz, ends timestamptz,
    OUT bucket timestamptz, OUT customer_id varchar, OUT readings integer, OUT sum_bpm bigint
) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SET plan_cache_mode TO force_custom_plan  -- a plan for any range would read all customers
AS $$
#variable_conflict use_column
DECLARE
    width integer := customer_width(begins, ends, customers);
    noted timestamptz[];
BEGIN
    IF width = 60 THEN
        noted := ARRAY(SELECT noted_minutes(begins, ends));
        RETURN QUERY
            SELECT minute, customer_id, readings, sum_bpm FROM heartbeats_per_minute
            WHERE customer_id = ANY (customers) AND minute > begins - interval '1 min' AND minute <= ends
              AND minute <> ALL (noted);
        RETURN QUERY
            SELECT minute, customer_id, fresh.readings, fresh.sum_bpm
            FROM unnest(noted) AS minute,
                 LATERAL (SELECT customer_id, count(*)::integer AS readings, sum(heart_rate) AS sum_bpm FROM heartbeats
                          WHERE customer_id = ANY (customers) AND "timestamp" >= minute
                            AND "timestamp" < minute + interval '1 min' GROUP BY customer_id) AS fresh;
    ELSIF width > 60 THEN
        RETURN QUERY
            SELECT bucket, customer_id, readings, sum_bpm FROM heartbeats_per_customer
            WHERE width_s = width AND customer_id = ANY (customers)
              AND bucket > begins - make_interval(secs => width) AND bucket <= ends;
    END IF;
END
$$;
COMMENT ON FUNCTION customer_history IS 'Rollups of some customers from begins to ends, for ranges too long to draw each reading';

COMMIT;

-- Retention ------------------------------------------------------------------------------------------------------

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
-- The database's clock decides what is old, and no service drops anything that is younger than this. Only the owner can
-- change it. The columns are named as the consumers' settings.
CREATE TABLE IF NOT EXISTS retention_floor (
    only_row                boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    retention_days          integer NOT NULL DEFAULT 1 CHECK (retention_days >= 1),
    rejected_retention_days integer NOT NULL DEFAULT 1 CHECK (rejected_retention_days >= 1),
    rollup_retention_days   integer NOT NULL DEFAULT 1 CHECK (rollup_retention_days >= 1),
    rejected_max_bytes      bigint  NOT NULL DEFAULT 1073741824 CHECK (rejected_max_bytes >= 67108864)
);
INSERT INTO retention_floor DEFAULT VALUES ON CONFLICT DO NOTHING;
COMMENT ON COLUMN retention_floor.rejected_max_bytes IS 'So many bytes of the newest quarantined messages are always kept, whatever their age';
COMMENT ON TABLE retention_floor IS 'The fewest days that each kind of data is kept, whatever a consumer asks for; 1: today and yesterday (UTC)';

CREATE OR REPLACE FUNCTION retention_limit(setting text, keep_days integer) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
AS $$
DECLARE
    fewest integer := coalesce((SELECT to_jsonb(retention_floor) -> setting FROM retention_floor)::integer, 1);
BEGIN
    IF keep_days BETWEEN fewest AND 36500 THEN
        RETURN ((now() AT TIME ZONE 'UTC')::date - keep_days)::timestamp AT TIME ZONE 'UTC';
    END IF;
    RAISE 'cannot drop what is older than % days: % must be % to 36500', coalesce(keep_days::text, 'NULL'), setting, fewest
        USING HINT = format('To drop data sooner, the owner of the tables lowers the floor: UPDATE retention_floor SET %I = <days>;', setting);
END
$$;
COMMENT ON FUNCTION retention_limit IS 'The moment before which data is old if so many days are kept; an error for fewer days than retention_floor allows';

-- Signatures that took a moment from the consumer's clock.
DROP FUNCTION IF EXISTS drop_strays(timestamptz, integer);
DROP FUNCTION IF EXISTS drop_rejected(timestamptz, integer);
DROP FUNCTION IF EXISTS drop_rollups(timestamptz, integer);
DROP FUNCTION IF EXISTS heartbeats_days_due(date, date);

-- Drops one day's heartbeats, and tallies them in the ledger. All locks are tried and given back before anything is
-- counted: a day that cannot be dropped costs nothing. Rows are counted under a lock that only writers of that day meet.
-- The lock that every session meets is taken last, for a moment.
CREATE OR REPLACE FUNCTION drop_heartbeats_day(day date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET "TimeZone" TO 'UTC' SET "DateStyle" TO 'ISO'
AS $$
DECLARE
    partition_name text := 'heartbeats_' || to_char(day, 'YYYYMMDD');
    first_moment timestamptz := day::timestamp AT TIME ZONE 'UTC';
    next_moment timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    generations smallint[];
    partitions integer[];
    numbers bigint[];
BEGIN
    IF (first_moment < retention_limit('retention_days', coalesce((SELECT retention_days FROM retention_floor), 1))) IS NOT TRUE THEN
        RAISE 'cannot drop the heartbeats of %: retention_floor keeps them', coalesce(day::text, 'NULL')
            USING HINT = 'To drop them sooner, the owner of the tables lowers the floor: UPDATE retention_floor SET retention_days = <days>;';
    END IF;
    IF NOT maintenance_turn() THEN
        RETURN NULL;
    END IF;
    IF to_regclass(partition_name) IS NULL THEN
        RETURN 0;
    END IF;
    IF NOT EXISTS (  -- a name is not enough: to_char() gives a year before Christ the name of one after
        SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'heartbeats'::regclass AND inhrelid = to_regclass(partition_name)
          AND pg_get_expr(relpartbound, inhrelid) = format('FOR VALUES FROM (%L) TO (%L)', first_moment, next_moment))
    THEN
        RAISE 'cannot drop %: it does not hold the heartbeats of %', partition_name, day
            USING HINT = 'Drop this table by hand if it is not needed.';
    END IF;
    BEGIN
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', partition_name);
        RAISE 'this lock can be had' USING ERRCODE = 'HB000';
    EXCEPTION
        WHEN SQLSTATE 'HB000' THEN NULL;  -- the block is undone: its locks are given back
        WHEN lock_not_available THEN
            RAISE 'cannot drop %: a transaction uses it', partition_name USING ERRCODE = 'object_in_use', HINT = format(
                'It is tried again. To find a forgotten transaction: SELECT * FROM pg_locks JOIN pg_stat_activity USING (pid)'
                ' WHERE relation = %L::regclass;', partition_name);
    END;
    BEGIN
        LOCK TABLE ONLY heartbeats, heartbeats_default IN ACCESS EXCLUSIVE MODE;
        RAISE 'these locks can be had' USING ERRCODE = 'HB000';
    EXCEPTION WHEN SQLSTATE 'HB000' THEN NULL;
    END;
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', partition_name);
    EXECUTE format(
        'SELECT array_agg(generation), array_agg(partition), array_agg(number) FROM (
            SELECT (id >> 56)::smallint AS generation, ((id >> 40) & 65535)::integer AS partition, count(*) AS number
            FROM %I GROUP BY 1, 2) AS tally', partition_name) INTO generations, partitions, numbers;
    EXECUTE format('DROP TABLE %I', partition_name);
    UPDATE kafka_ledger AS ledger SET stored_dropped = stored_dropped + tally.number
    FROM unnest(generations, partitions, numbers) AS tally (generation, partition, number)
    WHERE ledger.generation = tally.generation AND ledger.partition = tally.partition;
    INSERT INTO heartbeats_horizon (dropped_before) VALUES (next_moment)
    ON CONFLICT (only_row) DO UPDATE SET dropped_before = greatest(heartbeats_horizon.dropped_before, excluded.dropped_before);
    RETURN (SELECT coalesce(sum(number), 0) FROM unnest(numbers) AS number);
END
$$;
REVOKE EXECUTE ON FUNCTION drop_heartbeats_day FROM PUBLIC;
COMMENT ON FUNCTION drop_heartbeats_day IS 'Drops a UTC day''s partition, tallied in kafka_ledger.stored_dropped; returns the rows dropped, NULL while another session has the turn';

-- The same for rows that never had a day of their own, and for quarantine and rollups: at most so many rows at a time,
-- so that a transaction stays short.
CREATE OR REPLACE FUNCTION drop_strays(keep_days integer, most integer DEFAULT 10000) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    before timestamptz := retention_limit('retention_days', keep_days);
    dropped bigint;
BEGIN
    IF NOT maintenance_turn() THEN
        RETURN NULL;
    END IF;
    WITH gone AS (
        DELETE FROM heartbeats_default WHERE (id, "timestamp") IN (
            SELECT id, "timestamp" FROM heartbeats_default WHERE "timestamp" < before LIMIT most)
        RETURNING id
    ), gone_old AS (
        DELETE FROM heartbeats_old WHERE (id, "timestamp") IN (
            SELECT id, "timestamp" FROM heartbeats_old WHERE "timestamp" < before LIMIT most)
        RETURNING id
    ), strays AS (
        SELECT id FROM gone UNION ALL SELECT id FROM gone_old
    ), tally AS (
        SELECT (id >> 56)::smallint AS generation, ((id >> 40) & 65535)::integer AS partition, count(*) AS number
        FROM strays GROUP BY 1, 2
    ), booked AS (
        UPDATE kafka_ledger AS ledger SET stored_dropped = stored_dropped + tally.number
        FROM tally WHERE ledger.generation = tally.generation AND ledger.partition = tally.partition
    )
    SELECT count(*) INTO dropped FROM strays;
    IF dropped > 0 THEN
        INSERT INTO heartbeats_horizon (dropped_before) VALUES (before)
        ON CONFLICT (only_row) DO UPDATE SET dropped_before = greatest(heartbeats_horizon.dropped_before, excluded.dropped_before);
    END IF;
    RETURN dropped;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_strays FROM PUBLIC;
COMMENT ON FUNCTION drop_strays IS 'Drops old heartbeats that have no day''s partition, tallied in the ledger; NULL while another session has the turn';

CREATE OR REPLACE FUNCTION drop_rejected(keep_days integer, most integer DEFAULT 10000) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    before timestamptz := retention_limit('rejected_retention_days', keep_days);
    dropped bigint;
BEGIN
    IF NOT maintenance_turn() THEN
        RETURN NULL;
    END IF;
    WITH gone AS (
        DELETE FROM rejected_heartbeats WHERE id IN (
            SELECT id FROM rejected_heartbeats WHERE rejected_at < before LIMIT most)
        RETURNING id
    ), tally AS (
        SELECT (id >> 56)::smallint AS generation, ((id >> 40) & 65535)::integer AS partition, count(*) AS number
        FROM gone GROUP BY 1, 2
    ), booked AS (
        UPDATE kafka_ledger AS ledger SET rejected_dropped = rejected_dropped + tally.number
        FROM tally WHERE ledger.generation = tally.generation AND ledger.partition = tally.partition
    )
    SELECT count(*) INTO dropped FROM gone;
    RETURN dropped;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_rejected FROM PUBLIC;
COMMENT ON FUNCTION drop_rejected IS 'Drops old quarantined messages, tallied in the ledger; NULL while another session has the turn';

CREATE OR REPLACE FUNCTION drop_rollups(keep_days integer, most integer DEFAULT 10000) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    before timestamptz := retention_limit('rollup_retention_days', keep_days);
    dropped bigint;
BEGIN
    IF NOT maintenance_turn() THEN
        RETURN NULL;
    END IF;
    WITH minutes AS (
        DELETE FROM heartbeats_per_minute WHERE (customer_id, minute) IN (
            SELECT customer_id, minute FROM heartbeats_per_minute WHERE minute < before LIMIT most)
        RETURNING 1
    ), customers AS (
        DELETE FROM heartbeats_per_customer WHERE (width_s, customer_id, bucket) IN (
            SELECT width_s, customer_id, bucket FROM heartbeats_per_customer WHERE bucket < before LIMIT most)
        RETURNING 1
    ), buckets AS (
        DELETE FROM heartbeats_fleet WHERE (width_s, bucket) IN (
            SELECT width_s, bucket FROM heartbeats_fleet WHERE bucket < before LIMIT most)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM minutes) + (SELECT count(*) FROM customers) + (SELECT count(*) FROM buckets) INTO dropped;
    RETURN dropped;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_rollups FROM PUBLIC;
COMMENT ON FUNCTION drop_rollups IS 'Drops old rollups; NULL while another session has the turn';

-- A replay may take a message out of the quarantine only once its heartbeat is stored.
CREATE OR REPLACE FUNCTION release_rejected(ids bigint[]) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    WITH gone AS (
        DELETE FROM rejected_heartbeats AS rejected
        WHERE id = ANY (ids) AND EXISTS (SELECT FROM heartbeats WHERE heartbeats.id = rejected.id)
        RETURNING 1
    )
    SELECT count(*) FROM gone;
END;
REVOKE EXECUTE ON FUNCTION release_rejected FROM PUBLIC;
COMMENT ON FUNCTION release_rejected IS 'Deletes quarantined messages whose heartbeats are stored; returns how many';

-- The coming days, and those of the last two months that wait in the default partition: senders of odd timestamps must
-- not get a partition each.
CREATE OR REPLACE FUNCTION heartbeats_days_to_make(keep_days integer, ahead_days integer) RETURNS SETOF date
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    SELECT wanted.day
    FROM (
        SELECT (now() AT TIME ZONE 'UTC')::date + ahead AS day FROM generate_series(0, ahead_days) AS ahead
        UNION
        SELECT DISTINCT ("timestamp" AT TIME ZONE 'UTC')::date FROM heartbeats_default
        WHERE "timestamp" >= ((now() AT TIME ZONE 'UTC')::date - least(keep_days, 60))::timestamp AT TIME ZONE 'UTC'
          AND "timestamp" < ((now() AT TIME ZONE 'UTC')::date + ahead_days + 1)::timestamp AT TIME ZONE 'UTC'
    ) AS wanted
    WHERE to_regclass('heartbeats_' || to_char(wanted.day, 'YYYYMMDD')) IS NULL
    ORDER BY wanted.day < (now() AT TIME ZONE 'UTC')::date, abs(wanted.day - (now() AT TIME ZONE 'UTC')::date);
END;
REVOKE EXECUTE ON FUNCTION heartbeats_days_to_make FROM PUBLIC;
COMMENT ON FUNCTION heartbeats_days_to_make IS 'Days that need a partition, the coming ones first; keep_days is NULL where heartbeats are kept for ever';

CREATE OR REPLACE FUNCTION heartbeats_days_to_drop(keep_days integer) RETURNS SETOF date
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    SELECT days.day
    FROM (
        SELECT to_date(substring(relname FROM '^heartbeats_([0-9]{8})$'), 'YYYYMMDD') AS day
        FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'heartbeats'::regclass AND relname ~ '^heartbeats_[0-9]{8}$'
    ) AS days
    WHERE days.day < (retention_limit('retention_days', keep_days) AT TIME ZONE 'UTC')::date
    ORDER BY 1;
END;
REVOKE EXECUTE ON FUNCTION heartbeats_days_to_drop FROM PUBLIC;
COMMENT ON FUNCTION heartbeats_days_to_drop IS 'Days with a partition that are old if so many days are kept';

COMMIT;

-- The patients' view ---------------------------------------------------------------------------------------------

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
-- Made once: to replace it means to wait for its readers. A version that changes it has to.
DO $$
BEGIN
    IF to_regclass('patient_heartbeats') IS NULL THEN
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
    END IF;
END
$$;
COMMENT ON VIEW patient_heartbeats IS 'The same rows by patient number (NULL where customer_id is no CUST-<n>) with low/normal/high at 60 and 100';

COMMIT;

-- Checks ---------------------------------------------------------------------------------------------------------

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
CREATE OR REPLACE FUNCTION heartbeat_objects() RETURNS name[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY[
        -- Tables, a sequence and a view; the days' partitions are those that inherit from heartbeats
        'heartbeats', 'heartbeats_by_hand_id', 'heartbeats_fleet', 'heartbeats_horizon', 'heartbeats_outdated',
        'heartbeats_per_customer', 'heartbeats_per_minute', 'heartbeats_touched', 'kafka_ledger', 'kafka_topics',
        'maintenance_turn', 'patient_heartbeats', 'rejected_heartbeats', 'rejected_turn', 'retention_floor',
        'schema_turn',
        -- Functions
        'attach_heartbeats', 'bound_rejected', 'customer_history', 'customer_width', 'drop_heartbeats_day',
        'drop_rejected', 'drop_rollups', 'drop_strays', 'fleet_from_heartbeats', 'fleet_history', 'fleet_width',
        'free_generation', 'heartbeat_objects', 'heartbeats_days_to_drop', 'heartbeats_days_to_make', 'kafka_place',
        'kafka_place_id', 'maintenance_turn', 'make_heartbeats_partition', 'note_heartbeats', 'noted_minutes',
        'refresh_rollups', 'rejected_turn', 'release_rejected', 'retention_limit', 'sum_up_fleet'
    ]::name[];
COMMENT ON FUNCTION heartbeat_objects IS 'The names of what db/schema.sql creates: roles.sql touches nothing else';

-- A function that runs with the owner's rights is called by those to whom roles.sql grants it, and finds only our tables.
DO $$
DECLARE
    unsafe text := (
        SELECT string_agg(oid::regprocedure::text, ', ') FROM pg_proc
        WHERE pronamespace = quote_ident(current_schema())::regnamespace AND proname = ANY (heartbeat_objects()) AND prosecdef
          AND (has_function_privilege('public', oid, 'EXECUTE')
               OR format('search_path=%I, pg_temp', current_schema()) = ANY (proconfig) IS NOT TRUE));
BEGIN
    IF unsafe IS NOT NULL THEN
        RAISE 'not safe to run with the owner''s rights: %', unsafe
            USING HINT = 'REVOKE EXECUTE ... FROM PUBLIC and SET search_path FROM CURRENT stand beside each such function.';
    END IF;
END
$$;
COMMIT;

RESET client_min_messages;
RESET DateStyle;
RESET search_path;
RESET lock_timeout;
