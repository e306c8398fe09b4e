-- Drops old data, by the database's clock, and never what retention_floor keeps. See schema.sql, which includes this file.

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;

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
COMMENT ON FUNCTION maintenance_turn IS 'Takes the lock of maintenance until the transaction ends; false if another session holds it';

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
COMMENT ON FUNCTION retention_limit IS 'Data before this time is old if keep_days are kept; raises for fewer days than retention_floor allows';

-- Heartbeats that were dropped cannot be summed up again.
CREATE OR REPLACE FUNCTION note_dropped(table_name text, before timestamptz) RETURNS void
    LANGUAGE sql SET search_path FROM CURRENT
BEGIN ATOMIC
    INSERT INTO heartbeats_horizon (dropped_before) SELECT before WHERE table_name = 'heartbeats'
    ON CONFLICT (only_row) DO UPDATE SET dropped_before = greatest(heartbeats_horizon.dropped_before, excluded.dropped_before);
END;
COMMENT ON FUNCTION note_dropped IS 'Notes how far retention has dropped heartbeats; does nothing for other tables';

-- Drops one day's rows, and counts them in the ledger. All locks are tried and released first, so a day that is in
-- use costs nothing. Rows are counted under a lock that blocks only that day's writers. The lock that blocks every session
-- is taken last, for a moment.
DROP FUNCTION IF EXISTS drop_heartbeats_day(date);
CREATE OR REPLACE FUNCTION drop_day(table_name text, day date) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET "TimeZone" TO 'UTC' SET "DateStyle" TO 'ISO'
AS $$
DECLARE
    partition_name text := table_name || to_char(day, '_YYYYMMDD');
    first_moment timestamptz := day::timestamp AT TIME ZONE 'UTC';
    next_moment timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    held record;
    generations smallint[];
    partitions integer[];
    numbers bigint[];
BEGIN
    IF (first_moment < retention_limit('retention_days', coalesce((SELECT retention_days FROM retention_floor), 1))) IS NOT TRUE THEN
        RAISE 'cannot drop the rows of % in %: retention_floor keeps them', coalesce(day::text, 'NULL'), table_name
            USING HINT = 'To drop them sooner, the owner of the tables lowers the floor: UPDATE retention_floor SET retention_days = <days>;';
    END IF;
    SELECT * INTO held FROM daily_table(table_name);
    IF NOT maintenance_turn() THEN
        RETURN NULL;
    END IF;
    IF held.strays IS NULL OR to_regclass(partition_name) IS NULL THEN
        RETURN 0;
    END IF;
    IF NOT EXISTS (  -- the name is not enough: to_char() gives a year BC the name of a year AD
        SELECT FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = held.relation AND inhrelid = to_regclass(partition_name)
          AND pg_get_expr(relpartbound, inhrelid) = format('FOR VALUES FROM (%L) TO (%L)', first_moment, next_moment))
    THEN
        RAISE 'cannot drop %: it does not hold the rows of % in %', partition_name, day, table_name
            USING HINT = 'Drop this table by hand if you do not need it.';
    END IF;
    BEGIN
        EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', partition_name);
        RAISE 'this lock can be had' USING ERRCODE = 'HB000';
    EXCEPTION
        WHEN SQLSTATE 'HB000' THEN NULL;  -- the block is rolled back, which releases its locks
        WHEN lock_not_available THEN
            RAISE 'cannot drop %: a transaction uses it', partition_name USING ERRCODE = 'object_in_use', HINT = format(
                'Maintenance retries it. To find a forgotten transaction: SELECT * FROM pg_locks JOIN pg_stat_activity USING (pid)'
                ' WHERE relation = %L::regclass;', partition_name);
    END;
    BEGIN
        EXECUTE format('LOCK TABLE ONLY %s, %s IN ACCESS EXCLUSIVE MODE', held.relation, held.strays);
        RAISE 'these locks can be had' USING ERRCODE = 'HB000';
    EXCEPTION WHEN SQLSTATE 'HB000' THEN NULL;
    END;
    EXECUTE format('LOCK TABLE %I IN SHARE MODE', partition_name);
    EXECUTE format(
        'SELECT array_agg(generation), array_agg(partition), array_agg(number) FROM (
            SELECT (id >> 56)::smallint AS generation, ((id >> 40) & 65535)::integer AS partition, count(*) AS number
            FROM %I GROUP BY 1, 2) AS counts', partition_name) INTO generations, partitions, numbers;
    EXECUTE format('DROP TABLE %I', partition_name);
    UPDATE kafka_ledger AS ledger SET stored_dropped = stored_dropped + counts.number
    FROM unnest(generations, partitions, numbers) AS counts (generation, partition, number)
    WHERE ledger.generation = counts.generation AND ledger.partition = counts.partition;
    PERFORM note_dropped(table_name, next_moment);
    INSERT INTO pipeline_events (kind, source, detail) VALUES ('partition_dropped', 'database', format(
        '%s of %s: %s rows', table_name, day, (SELECT coalesce(sum(number), 0) FROM unnest(numbers) AS number)));
    RETURN (SELECT coalesce(sum(number), 0) FROM unnest(numbers) AS number);
END
$$;
REVOKE EXECUTE ON FUNCTION drop_day FROM PUBLIC;
COMMENT ON FUNCTION drop_day IS 'Drops a UTC day''s partition, counted in kafka_ledger.stored_dropped; returns the rows dropped, NULL while another session does maintenance';

-- The same for rows without a day's partition, for the quarantine and for rollups: at most `most` rows at a time, so that
-- transactions stay short.
DROP FUNCTION IF EXISTS drop_strays(integer, integer);
CREATE OR REPLACE FUNCTION drop_strays(table_name text, keep_days integer, most integer DEFAULT 10000) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    before timestamptz := retention_limit('retention_days', keep_days);
    held record;
    part regclass;
    dropped bigint;
    total bigint := 0;
BEGIN
    SELECT * INTO held FROM daily_table(table_name);
    IF NOT maintenance_turn() THEN
        RETURN NULL;
    END IF;
    FOR part IN
        SELECT oid FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = held.relation AND relkind = 'r' AND relname !~ format('^%s_[0-9]{8}$', table_name)
    LOOP
        EXECUTE format(
            'WITH gone AS (
                DELETE FROM %1$s WHERE ctid = ANY (ARRAY(SELECT ctid FROM %1$s WHERE %2$I < $1 LIMIT $2)) RETURNING id
            ), counts AS (
                SELECT (id >> 56)::smallint AS generation, ((id >> 40) & 65535)::integer AS partition, count(*) AS number
                FROM gone GROUP BY 1, 2
            ), updated AS (
                UPDATE kafka_ledger AS ledger SET stored_dropped = stored_dropped + counts.number
                FROM counts WHERE ledger.generation = counts.generation AND ledger.partition = counts.partition
            )
            SELECT count(*) FROM gone', part, held.time_column) INTO dropped USING before, most;
        total := total + dropped;
    END LOOP;
    IF total > 0 THEN
        PERFORM note_dropped(table_name, before);
    END IF;
    RETURN total;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_strays FROM PUBLIC;
COMMENT ON FUNCTION drop_strays IS 'Drops old rows that have no day''s partition, counted in the ledger; NULL while another session does maintenance';

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
    ), counts AS (
        SELECT (id >> 56)::smallint AS generation, ((id >> 40) & 65535)::integer AS partition, count(*) AS number
        FROM gone GROUP BY 1, 2
    ), updated AS (
        UPDATE kafka_ledger AS ledger SET rejected_dropped = rejected_dropped + counts.number
        FROM counts WHERE ledger.generation = counts.generation AND ledger.partition = counts.partition
    )
    SELECT count(*) INTO dropped FROM gone;
    RETURN dropped;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_rejected FROM PUBLIC;
COMMENT ON FUNCTION drop_rejected IS 'Drops old quarantined messages, counted in the ledger; NULL while another session does maintenance';

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
    ), ended AS (
        DELETE FROM alarms WHERE (customer_id, kind, started_at) IN (
            SELECT customer_id, kind, started_at FROM alarms WHERE ended_at < before LIMIT most)
        RETURNING 1
    ), gone AS (  -- an open alarm needs its person: look_for_alarms() closes it first
        DELETE FROM alarm_people WHERE customer_id IN (
            SELECT customer_id FROM alarm_people AS person WHERE seen_at < before AND NOT EXISTS (
                SELECT FROM alarms WHERE alarms.customer_id = person.customer_id AND ended_at IS NULL) LIMIT most)
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM minutes) + (SELECT count(*) FROM customers) + (SELECT count(*) FROM buckets)
           + (SELECT count(*) FROM ended) + (SELECT count(*) FROM gone) INTO dropped;
    RETURN dropped;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_rollups FROM PUBLIC;
COMMENT ON FUNCTION drop_rollups IS 'Drops old rollups, alarms that ended and people without heartbeats since; NULL while another session holds the lock of maintenance';

-- Keeps the newest 1,000 of each kind: a kind that repeats fast must neither fill the disk nor push out the others.
CREATE OR REPLACE FUNCTION drop_events(keep_days integer, most integer DEFAULT 10000) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    before timestamptz := CASE WHEN keep_days IS NOT NULL THEN retention_limit('rollup_retention_days', keep_days) END;
    dropped bigint;
BEGIN
    IF NOT maintenance_turn() THEN
        RETURN NULL;
    END IF;
    WITH gone AS (
        DELETE FROM pipeline_events WHERE id IN (
            SELECT id FROM (SELECT id, noted_at, row_number() OVER (PARTITION BY kind ORDER BY noted_at DESC, id) AS nth
                            FROM pipeline_events) AS numbered
            WHERE nth > 1000 OR noted_at < before LIMIT most)
        RETURNING 1
    )
    SELECT count(*) INTO dropped FROM gone;
    RETURN dropped;
END
$$;
REVOKE EXECUTE ON FUNCTION drop_events FROM PUBLIC;
COMMENT ON FUNCTION drop_events IS 'Drops old events, and all but the newest 1,000 of each kind; keep_days is NULL if their age does not matter. NULL while another session holds the lock of maintenance';

DROP FUNCTION IF EXISTS heartbeats_days_to_drop(integer);
CREATE OR REPLACE FUNCTION days_to_drop(table_name text, keep_days integer) RETURNS SETOF date
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path FROM CURRENT
BEGIN ATOMIC
    SELECT days.day
    FROM (
        SELECT to_date(right(relname, 8), 'YYYYMMDD') AS day
        FROM daily_table(table_name) JOIN pg_inherits ON inhparent = relation JOIN pg_class ON pg_class.oid = inhrelid
        WHERE relname ~ format('^%s_[0-9]{8}$', table_name)
    ) AS days
    WHERE days.day < (retention_limit('retention_days', keep_days) AT TIME ZONE 'UTC')::date
    ORDER BY 1;
END;
REVOKE EXECUTE ON FUNCTION days_to_drop FROM PUBLIC;
COMMENT ON FUNCTION days_to_drop IS 'Days with a partition that are old if so many days are kept';

COMMIT;
