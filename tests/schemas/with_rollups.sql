-- The tables of the heartbeat pipeline. Run it any number of times on the same database, by `psql -f` or any driver:
-- what is there already stays as it is. It needs PostgreSQL 14 or newer and a UTF8 database.

-- One at a time: two sessions that create the same table at once would fail, IF NOT EXISTS or not. An older version's
-- refresh_rollups(), called by running consumers, rests until the tables that it does not know have their function.
DO $$
BEGIN
    PERFORM pg_advisory_lock(hashtextextended('heartbeat schema', 0));
    PERFORM pg_advisory_lock(hashtextextended('heartbeat rollups', 0));
END
$$;
SET client_min_messages = warning;

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

-- Heartbeats -----------------------------------------------------------------------------------------------------

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
    FOR turn IN 1..2 LOOP  -- without locks, so that a day that cannot be made costs nobody anything; then for certain
        IF turn = 2 THEN
            LOCK TABLE ONLY heartbeats IN SHARE UPDATE EXCLUSIVE MODE;
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
COMMENT ON FUNCTION make_heartbeats_partition IS
    'Gives a UTC day its own partition; false if it has one, or cannot get one. For the owner any day, else -60 to +7 days';

-- The coming days, and one partition for all days that are too old to get one of their own: each new partition makes
-- PostgreSQL read the default partition under a lock, which must stay short however many old rows are kept.
DO $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    oldest date;
BEGIN
    FOR day IN -1..7 LOOP
        PERFORM make_heartbeats_partition(today + day);
    END LOOP;
    SELECT least(today - 60, min(to_date(substring(relname FROM '[0-9]{8}$'), 'YYYYMMDD'))) INTO oldest
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'heartbeats'::regclass AND relname ~ '^heartbeats_[0-9]{8}$';
    -- Once, and however many wait there: 10 microseconds a row.
    PERFORM attach_heartbeats('heartbeats_old', '-infinity', oldest::timestamp AT TIME ZONE 'UTC', 2147483646);
END
$$;

-- Quarantine -----------------------------------------------------------------------------------------------------

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
COMMENT ON COLUMN rejected_heartbeats.payload IS 'The bytes as they came, cut at consumer.max_payload_bytes; NULL for a tombstone';
COMMENT ON COLUMN rejected_heartbeats.payload_length IS 'Full length in bytes, also of a payload that was cut';
COMMENT ON COLUMN rejected_heartbeats.reason IS 'Stable word, see docs/architecture.md; what PostgreSQL refused carries its words';
COMMENT ON COLUMN rejected_heartbeats.appended_at IS 'The time by which a timestamp counts as future: the broker''s (LogAppendTime), else the later of the sender''s and the consumer''s clock. Before 2011: a sender''s, see TAKE in consumer/replay.py';

-- The books ------------------------------------------------------------------------------------------------------

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

ALTER TABLE kafka_ledger ADD COLUMN IF NOT EXISTS last_offset bigint, ADD COLUMN IF NOT EXISTS last_fingerprint bigint;

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

-- Rollups --------------------------------------------------------------------------------------------------------

-- Each transaction that stores heartbeats notes here which minutes it touched: inserts alone, so nobody waits for
-- anybody. A minute without a note is exact in both rollups; one with a note is to be read from heartbeats.
CREATE TABLE IF NOT EXISTS heartbeats_touched (
    minute   timestamptz NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
COMMENT ON TABLE heartbeats_touched IS 'Minutes whose rollups are older than their heartbeats; refresh_rollups() works them off';

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

-- A database that was filled before there was this table.
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
COMMENT ON TABLE heartbeats_horizon IS 'Up to when retention has dropped heartbeats; their rollups stay as they are';

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

-- Works off the notes: each minute once it has been quiet for five seconds, or noted for a minute. The notes go first,
-- the sums are taken after: what is stored in between leaves a note of its own.
CREATE OR REPLACE FUNCTION refresh_rollups(most integer DEFAULT 10) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    picked timestamptz[];
    horizon timestamptz := coalesce((SELECT dropped_before FROM heartbeats_horizon), '-infinity');
    wide integer;
    fine integer := 10;
    one timestamptz;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtextextended('heartbeat rollups', 0)) THEN
        RETURN 0;
    END IF;
    SELECT array_agg(minute) INTO picked FROM (
        SELECT minute FROM heartbeats_touched GROUP BY minute
        HAVING max(noted_at) < clock_timestamp() - interval '5 s' OR min(noted_at) < clock_timestamp() - interval '60 s'
        ORDER BY min(noted_at) LIMIT most
    ) AS due;
    IF picked IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM heartbeats_touched WHERE minute = ANY (picked);
    picked := ARRAY(SELECT minute FROM unnest(picked) AS minute WHERE minute >= horizon);

    DELETE FROM heartbeats_per_minute WHERE minute = ANY (picked);
    FOREACH one IN ARRAY picked LOOP  -- one minute at a time: its bounds let the planner see a single day's partition
        EXECUTE format(
            'INSERT INTO heartbeats_per_minute
             SELECT customer_id, %1$L::timestamptz, count(*), sum(heart_rate), min(heart_rate), max(heart_rate),
                    count(*) FILTER (WHERE heart_rate < 60), count(*) FILTER (WHERE heart_rate > 100)
             FROM heartbeats WHERE "timestamp" >= %1$L AND "timestamp" < %2$L GROUP BY customer_id',
            one, one + interval '1 minute');
        DELETE FROM heartbeats_fleet WHERE width_s = 10 AND bucket >= one AND bucket < one + interval '1 minute';
        INSERT INTO heartbeats_fleet SELECT * FROM fleet_from_heartbeats(one, one + interval '1 minute');
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
COMMENT ON FUNCTION refresh_rollups IS 'Sums up minutes whose heartbeats changed; called by the consumers, one at a time. Returns how many';

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
BEGIN
    RETURN QUERY
        SELECT * FROM heartbeats_fleet AS fleet
        WHERE width_s = width AND bucket >= date_bin(make_interval(secs => width), begins, timestamptz '0001-01-01 00:00:00+00') AND bucket <= ends
          AND (width > 10 OR NOT EXISTS (SELECT FROM heartbeats_touched
                                         WHERE minute = date_bin(interval '1 minute', fleet.bucket, timestamptz '0001-01-01 00:00:00+00')));
    IF width = 10 THEN
        RETURN QUERY
            SELECT fresh.* FROM (SELECT DISTINCT minute FROM heartbeats_touched
                                 WHERE minute > begins - interval '1 minute' AND minute <= ends) AS noted,
                 LATERAL fleet_from_heartbeats(greatest(minute, date_bin(interval '10 s', begins, timestamptz '0001-01-01 00:00:00+00')),
                                               least(minute + interval '1 minute', ends)) AS fresh;
    END IF;
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
    LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_column
DECLARE
    width integer := customer_width(begins, ends, customers);
BEGIN
    IF width = 60 THEN
        RETURN QUERY
            SELECT minute, customer_id, readings, sum_bpm FROM heartbeats_per_minute AS rollup
            WHERE customer_id = ANY (customers) AND minute > begins - interval '1 min' AND minute <= ends
              AND NOT EXISTS (SELECT FROM heartbeats_touched WHERE minute = rollup.minute);
        RETURN QUERY
            SELECT minute, customer_id, fresh.readings, fresh.sum_bpm
            FROM (SELECT DISTINCT minute FROM heartbeats_touched
                  WHERE minute > begins - interval '1 min' AND minute <= ends) AS noted,
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

-- Retention ------------------------------------------------------------------------------------------------------

-- Drops one day's heartbeats, and tallies them in the books. Counted under a lock that only writers of that day meet;
-- the lock that everybody meets is taken last and held for a blink.
CREATE OR REPLACE FUNCTION drop_heartbeats_day(day date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    partition_name text := 'heartbeats_' || to_char(day, 'YYYYMMDD');
    dropped bigint;
BEGIN
    IF to_regclass(partition_name) IS NULL THEN
        RETURN 0;
    END IF;
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', partition_name);
    EXECUTE format(
        'CREATE TEMPORARY TABLE tally ON COMMIT DROP AS
         SELECT (id >> 56)::smallint AS generation, ((id >> 40) & 65535)::integer AS partition, count(*) AS number
         FROM %I GROUP BY 1, 2', partition_name);
    EXECUTE format('DROP TABLE %I', partition_name);
    UPDATE kafka_ledger AS ledger SET stored_dropped = stored_dropped + tally.number
    FROM tally WHERE ledger.generation = tally.generation AND ledger.partition = tally.partition;
    INSERT INTO heartbeats_horizon (dropped_before) VALUES ((day + 1)::timestamp AT TIME ZONE 'UTC')
    ON CONFLICT (only_row) DO UPDATE SET dropped_before = greatest(heartbeats_horizon.dropped_before, excluded.dropped_before);
    SELECT coalesce(sum(number), 0) INTO dropped FROM tally;
    RETURN dropped;
END
$$;
COMMENT ON FUNCTION drop_heartbeats_day IS 'Drops a UTC day''s partition, tallied in kafka_ledger.stored_dropped; returns the rows dropped';

-- The same for rows that never had a day of their own, and for quarantine and rollups: bounded bites, so that a
-- transaction stays short.
CREATE OR REPLACE FUNCTION drop_strays(before timestamptz, most integer DEFAULT 10000) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
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
    SELECT count(*) FROM strays;
END;
COMMENT ON FUNCTION drop_strays IS 'Drops heartbeats that have no day''s partition from before a moment, tallied in the books';

CREATE OR REPLACE FUNCTION drop_rejected(before timestamptz, most integer DEFAULT 10000) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
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
    SELECT count(*) FROM gone;
END;
COMMENT ON FUNCTION drop_rejected IS 'Drops quarantined messages from before a moment, tallied in the books';

CREATE OR REPLACE FUNCTION drop_rollups(before timestamptz, most integer DEFAULT 10000) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
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
    SELECT (SELECT count(*) FROM minutes) + (SELECT count(*) FROM customers) + (SELECT count(*) FROM buckets);
END;
COMMENT ON FUNCTION drop_rollups IS 'Drops rollups from before a moment';

-- What maintenance has to do: days that need a partition (the coming ones, and those of the last two months that wait
-- in the default partition: senders of odd timestamps must not get a partition each), and days whose time is over.
CREATE OR REPLACE FUNCTION heartbeats_days_due(oldest date, newest date, OUT day date, OUT todo text) RETURNS SETOF record
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    SELECT wanted.day, 'make'
    FROM (
        SELECT ((now() AT TIME ZONE 'UTC')::date + ahead) AS day FROM generate_series(0, newest - (now() AT TIME ZONE 'UTC')::date) AS ahead
        UNION
        SELECT DISTINCT ("timestamp" AT TIME ZONE 'UTC')::date FROM heartbeats_default
        WHERE "timestamp" >= greatest(oldest, (now() AT TIME ZONE 'UTC')::date - 60)::timestamp AT TIME ZONE 'UTC'
          AND "timestamp" < (newest + 1)::timestamp AT TIME ZONE 'UTC'
    ) AS wanted
    WHERE to_regclass('heartbeats_' || to_char(wanted.day, 'YYYYMMDD')) IS NULL
    UNION ALL
    SELECT to_date(substring(relname FROM '^heartbeats_([0-9]{8})$'), 'YYYYMMDD'), 'drop'
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'heartbeats'::regclass AND relname ~ '^heartbeats_[0-9]{8}$'
      AND to_date(substring(relname FROM '^heartbeats_([0-9]{8})$'), 'YYYYMMDD') < oldest
    ORDER BY 1;
END;
COMMENT ON FUNCTION heartbeats_days_due IS 'Days to make or drop a partition for';

-- The patients' view ---------------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW patient_heartbeats AS
SELECT
    CASE
        WHEN substring(customer_id FROM '^CUST-0*([0-9]{1,10})$')::bigint <= 2147483647
        THEN substring(customer_id FROM '^CUST-0*([0-9]{1,10})$')::integer
    END AS patient_id,
    "timestamp",
    heart_rate,
    CASE WHEN heart_rate < 60 THEN 'low' WHEN heart_rate <= 100 THEN 'normal' ELSE 'high' END::varchar AS status
FROM heartbeats;
COMMENT ON VIEW patient_heartbeats IS 'The same rows by patient number (NULL where customer_id is no CUST-<n>) with low/normal/high at 60 and 100';

RESET client_min_messages;
DO $$
BEGIN
    PERFORM pg_advisory_unlock(hashtextextended('heartbeat rollups', 0));
    PERFORM pg_advisory_unlock(hashtextextended('heartbeat schema', 0));
END
$$;
