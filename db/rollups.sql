-- The rollups that dashboards read. See schema.sql, which includes this file.

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

-- For rows that were inserted, changed or deleted by hand: consumers note only rows that they store.
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
COMMENT ON FUNCTION note_heartbeats IS 'Requests new rollups of a range, after rows were changed by hand; returns the number of minutes noted';

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

-- The rollups of a range, from heartbeats itself: for the minutes that have notes.
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

-- Sums up each noted minute when its last note is five seconds old, or its first one a minute; the newest minutes first,
-- for about two seconds. It deletes a note before it reads the rows: rows stored meanwhile leave a new note. Retention
-- drops nothing meanwhile, because it needs the same lock. Minutes that it dropped are before the horizon, which is read
-- under the lock.
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

    FOREACH one IN ARRAY ARRAY(  -- one minute at a time: with constant bounds, the planner reads one partition
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
COMMENT ON FUNCTION refresh_rollups IS 'Sums up minutes whose heartbeats changed; returns how many, NULL while another session does maintenance';

-- The width of the rollup's buckets, in seconds, that gives 100 to 720 points for a range.
CREATE OR REPLACE FUNCTION fleet_width(begins timestamptz, ends timestamptz) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN ends - begins <= interval '65 min' THEN 10 WHEN ends - begins <= interval '6 h' THEN 60
                WHEN ends - begins <= interval '50 h' THEN 600 ELSE 3600 END;

-- The moments at which a line ends: `longest` after each moment that no other follows by then. Grafana draws a straight
-- line from point to point, unless a NULL is between them.
CREATE OR REPLACE FUNCTION line_ends(moments timestamptz[], longest interval) RETURNS SETOF timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT moment + longest
    FROM (SELECT moment, lead(moment) OVER (ORDER BY moment) AS next FROM unnest(moments) AS moment) AS points
    WHERE next > moment + longest;
END;

-- For dashboards: the rollup of this width, and heartbeats itself for minutes that have notes.
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
        WITH known AS (
            SELECT * FROM heartbeats_fleet AS fleet
            WHERE width_s = width AND bucket >= date_bin(make_interval(secs => width), begins, timestamptz '0001-01-01 00:00:00+00') AND bucket <= ends
              AND date_bin(interval '1 minute', bucket, timestamptz '0001-01-01 00:00:00+00') <> ALL (noted)
            UNION ALL
            SELECT fresh.* FROM unnest(noted) AS minute,
                 LATERAL fleet_from_heartbeats(greatest(minute, date_bin(interval '10 s', begins, timestamptz '0001-01-01 00:00:00+00')),
                                               least(minute + interval '1 minute', ends)) AS fresh
        )
        SELECT * FROM known
        UNION ALL
        SELECT width, bucket, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
        FROM line_ends(ARRAY(SELECT bucket FROM known), make_interval(secs => width)) AS bucket;
END
$$;
COMMENT ON FUNCTION fleet_history IS 'The fleet from begins to ends in about 100 to 720 buckets, exact up to the last seconds for ranges up to an hour; NULLs where a gap begins';

-- The same for selected customers. 1: each reading is drawn. The limits are arbitrary numbers of points. Each point is
-- read from its own page, so they also keep a panel below 0.1 s.
CREATE OR REPLACE FUNCTION customer_width(begins timestamptz, ends timestamptz, customers varchar[]) RETURNS integer
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN cardinality(customers) * extract(epoch FROM ends - begins) <= 20000 THEN 1
                WHEN cardinality(customers) * extract(epoch FROM ends - begins) <= 60 * 10000 THEN 60
                WHEN cardinality(customers) * extract(epoch FROM ends - begins) <= 600 * 10000 THEN 600 ELSE 3600 END;

-- For dashboards: only the beginnings of gaps if customer_width() says that each reading is drawn. Between readings, 30 s
-- are a gap: the panel's spanNulls.
CREATE OR REPLACE FUNCTION customer_history(
    customers varchar[], begins timestamptz, ends timestamptz,
    OUT bucket timestamptz, OUT customer_id varchar, OUT readings integer, OUT sum_bpm bigint
) RETURNS SETOF record
    LANGUAGE plpgsql STABLE SET plan_cache_mode TO force_custom_plan  -- a plan for any range would read all customers
AS $$
#variable_conflict use_column
DECLARE
    width integer := customer_width(begins, ends, customers);
    noted timestamptz[] := '{}';
BEGIN
    IF width = 60 THEN
        noted := ARRAY(SELECT noted_minutes(begins, ends));
    END IF;
    RETURN QUERY
        WITH known AS (
            SELECT "timestamp" AS bucket, customer_id, NULL::integer AS readings, NULL::bigint AS sum_bpm FROM heartbeats
            WHERE width = 1 AND customer_id = ANY (customers) AND "timestamp" >= begins AND "timestamp" <= ends
            UNION ALL
            SELECT minute, customer_id, readings, sum_bpm FROM heartbeats_per_minute
            WHERE width = 60 AND customer_id = ANY (customers) AND minute > begins - interval '1 min' AND minute <= ends
              AND minute <> ALL (noted)
            UNION ALL
            SELECT minute, customer_id, fresh.readings, fresh.sum_bpm
            FROM unnest(noted) AS minute,
                 LATERAL (SELECT customer_id, count(*)::integer AS readings, sum(heart_rate) AS sum_bpm FROM heartbeats
                          WHERE customer_id = ANY (customers) AND "timestamp" >= minute
                            AND "timestamp" < minute + interval '1 min' GROUP BY customer_id) AS fresh
            UNION ALL
            SELECT bucket, customer_id, readings, sum_bpm FROM heartbeats_per_customer
            WHERE width > 60 AND width_s = width AND customer_id = ANY (customers)
              AND bucket > begins - make_interval(secs => width) AND bucket <= ends
        )
        SELECT * FROM known WHERE width > 1
        UNION ALL
        SELECT gap, customer_id, NULL, NULL
        FROM (SELECT customer_id, array_agg(bucket) AS buckets FROM known GROUP BY customer_id) AS points,
             line_ends(buckets, make_interval(secs => CASE WHEN width = 1 THEN 30 ELSE width END)) AS gap;
END
$$;
COMMENT ON FUNCTION customer_history IS 'Rollups of some customers from begins to ends, for ranges too long to draw each reading; NULLs where a gap begins';

COMMIT;
