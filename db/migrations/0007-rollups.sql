-- The rollups. That of customers per 10 minutes and hour is made of the one per minute.
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
