-- The tables of the heartbeat pipeline. Run it any number of times on the same database, by `psql -f` or any driver:
-- what is there already stays as it is. It needs PostgreSQL 14 or newer and a UTF8 database.

-- One at a time: two sessions that create the same table at once would fail, IF NOT EXISTS or not.
DO $$ BEGIN PERFORM pg_advisory_lock(hashtextextended('heartbeat schema', 0)); END $$;
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

-- No timestamp is refused: what has no day of its own waits here until it gets one.
CREATE TABLE IF NOT EXISTS heartbeats_default PARTITION OF heartbeats DEFAULT;

CREATE INDEX IF NOT EXISTS idx_timestamp ON heartbeats ("timestamp");
CREATE INDEX IF NOT EXISTS idx_customer_id ON heartbeats (customer_id, "timestamp");

COMMENT ON TABLE heartbeats IS 'One row per heartbeat event, each exactly once; partitioned by UTC day';
COMMENT ON COLUMN heartbeats.id IS 'The event''s place in Kafka (see kafka_place); counts up from 1 for rows inserted by hand';
COMMENT ON COLUMN heartbeats.customer_id IS 'Customer, 1 to 64 characters, e.g. CUST-000001';
COMMENT ON COLUMN heartbeats."timestamp" IS 'When the heart rate was taken, by the sender''s clock';
COMMENT ON COLUMN heartbeats.heart_rate IS 'Beats per minute, 1 to 300';

-- Builds the day's table aside and then attaches it, so that writers to other days wait for nothing and those to the
-- default partition only for the blink of the attachment; rows that waited in the default partition move along.
CREATE OR REPLACE FUNCTION make_heartbeats_partition(day date) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    partition_name text := 'heartbeats_' || to_char(day, 'YYYYMMDD');
    first_moment timestamptz := day::timestamp AT TIME ZONE 'UTC';
    next_moment timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(partition_name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE heartbeats INCLUDING ALL)', partition_name);
    LOCK TABLE heartbeats_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format(
        'WITH moved AS (DELETE FROM heartbeats_default WHERE "timestamp" >= %L AND "timestamp" < %L RETURNING *)
         INSERT INTO %I SELECT * FROM moved', first_moment, next_moment, partition_name);
    EXECUTE format('ALTER TABLE heartbeats ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        partition_name, first_moment, next_moment);
    RETURN true;
END
$$;
COMMENT ON FUNCTION make_heartbeats_partition IS 'Gives a UTC day its own partition; false if it has one';

DO $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    FOR day IN -1..7 LOOP
        PERFORM make_heartbeats_partition(today + day);
    END LOOP;
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
COMMENT ON COLUMN rejected_heartbeats.appended_at IS 'The broker''s time of the record: a replay judges future timestamps by it';

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

COMMENT ON TABLE kafka_ledger IS 'What was taken from Kafka: advanced in the transaction that stores the rows, so both happen or neither';
COMMENT ON COLUMN kafka_ledger.start_offset IS 'Where the books begin: the oldest offset Kafka held when the partition was first read';
COMMENT ON COLUMN kafka_ledger.next_offset IS 'The next offset to read; this, not the consumer group''s offset, decides';
COMMENT ON COLUMN kafka_ledger.stored IS 'Offsets that became a row of heartbeats';
COMMENT ON COLUMN kafka_ledger.rejected IS 'Offsets in quarantine';
COMMENT ON COLUMN kafka_ledger.skipped IS 'Offsets that hold no record: transaction markers, aborted or compacted records';
COMMENT ON COLUMN kafka_ledger.expired IS 'Offsets Kafka dropped before they were read, passed because consumer.skip_expired said so';
COMMENT ON COLUMN kafka_ledger.replayed IS 'Of the stored: those that came out of quarantine';
COMMENT ON COLUMN kafka_ledger.stored_dropped IS 'Of the stored: rows that retention has dropped since';
COMMENT ON COLUMN kafka_ledger.rejected_dropped IS 'Of the rejected: rows that retention has dropped since';

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
DO $$ BEGIN PERFORM pg_advisory_unlock(hashtextextended('heartbeat schema', 0)); END $$;
