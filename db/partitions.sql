-- A partition for each day of heartbeats. See schema.sql, which includes this file.

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;

-- Creates a partition for a range of time, and moves that range's rows there from the default partition. Returns false
-- if the range has a partition, or overlaps one, or if more rows than `most` would have to move (10,000 take 0.2 s), which
-- would block writers. Such rows are safe in the default partition, and retention finds them there.
-- Lock order, as in DROP TABLE: the table, then its default partition. The first lock admits one session at a time. The
-- second one waits only for sessions that write to the default partition.
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
    FOR attempt IN 1..2 LOOP  -- first without the second lock: a day that cannot be created blocks no writer
        IF attempt = 2 THEN
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
EXCEPTION WHEN invalid_object_definition THEN  -- it overlaps another partition
    RETURN false;
END
$$;
REVOKE EXECUTE ON FUNCTION attach_heartbeats FROM PUBLIC;
COMMENT ON FUNCTION attach_heartbeats IS 'Creates a partition for a range of time; false if it has one, or cannot get one';

-- Only the owner can create any day: odd timestamps, or a stolen role, must not create endless tables.
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
    'Creates a UTC day''s partition; false if it has one, or cannot get one. For the owner any day, else -60 to +7 days';

-- The coming days, and days of the last two months with rows in the default partition. Other days get no partition,
-- because odd timestamps would create one each.
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
COMMENT ON FUNCTION heartbeats_days_to_make IS 'Days that need a partition, the coming ones first; keep_days is NULL if heartbeats are kept for ever';

COMMIT;

-- The coming days, and one partition for all older days. For each new partition, PostgreSQL reads the default partition
-- under a lock, so it must stay small, also with many old rows. If a lock is busy, because a reader's transaction stays
-- open, the consumer's maintenance creates the day later.
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
        RAISE WARNING 'cannot create the coming days'' partitions now: a transaction uses heartbeats';
    END;
    PERFORM set_config('lock_timeout', patience, true);
    SELECT least(today - 60, min(to_date(substring(relname FROM '[0-9]{8}$'), 'YYYYMMDD'))) INTO oldest
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'heartbeats'::regclass AND relname ~ '^heartbeats_[0-9]{8}$';
    -- Once, with any number of rows: 10 microseconds a row.
    PERFORM attach_heartbeats('heartbeats_old', '-infinity', oldest::timestamp AT TIME ZONE 'UTC', 2147483646);
END
$$;
COMMIT;
