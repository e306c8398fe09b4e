-- Daily partitions, of heartbeats and of every other table in daily_tables. See schema.sql, which includes this file.

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;

-- Finds a table of daily_tables, its time column and its default partition; NULLs for other tables. It looks only in the
-- pipeline's schema, because a role may make a temporary table of the same name, whose defaults and checks would run with
-- the owner's rights. So would those of a table that belongs to somebody else.
CREATE OR REPLACE FUNCTION daily_table(asked text, OUT relation regclass, OUT time_column name, OUT strays regclass)
    LANGUAGE plpgsql STABLE SET search_path FROM CURRENT
AS $$
DECLARE
    fault text;
BEGIN
    SELECT held.oid, attname, nullif(partdefid, 0),
           CASE WHEN held.relowner <> (SELECT relowner FROM pg_class WHERE oid = 'heartbeats'::regclass)
                THEN 'its owner is not the one of heartbeats'
                WHEN partstrat <> 'r' OR partnatts <> 1 OR atttypid IS DISTINCT FROM 'timestamptz'::regtype
                THEN 'it must be partitioned by the range of one timestamptz column'
                WHEN NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = held.oid AND attname = 'id' AND atttypid = 'bigint'::regtype)
                THEN 'it must have a column id of the type bigint'
                WHEN partdefid <> 0 AND (SELECT relname FROM pg_class WHERE oid = partdefid) <> asked || '_default'
                THEN format('its default partition must have the name %s_default', asked) END
    INTO relation, time_column, strays, fault
    FROM daily_tables JOIN pg_class AS held ON relname = table_name
    JOIN pg_partitioned_table ON partrelid = held.oid
    LEFT JOIN pg_attribute ON attrelid = partrelid AND attnum = partattrs[0]
    WHERE table_name = asked AND relnamespace = quote_ident(current_schema())::regnamespace;
    IF fault IS NOT NULL THEN
        RAISE 'cannot partition % by day: %', asked, fault
            USING HINT = format('Change the table, or run as its owner: DELETE FROM daily_tables WHERE table_name = %L;', asked);
    END IF;
END
$$;
COMMENT ON FUNCTION daily_table IS 'A table that is partitioned by day, its time column and its default partition; NULLs for any other table';

-- Creates a partition for a range of time, and moves that range's rows there from the default partition. Returns false
-- if the range has a partition, or overlaps one, or if more rows than `most` would have to move (10,000 take 0.2 s), which
-- would block writers. Such rows are safe in the default partition, and retention finds them there.
-- Lock order, as in DROP TABLE: the table, then its default partition. The first lock admits one session at a time. The
-- second one waits only for sessions that write to the default partition.
CREATE OR REPLACE FUNCTION attach_partition(
    table_name text, partition_name text, first_moment timestamptz, next_moment timestamptz, most integer DEFAULT 10000
) RETURNS boolean
    LANGUAGE plpgsql SET search_path FROM CURRENT SET datestyle = 'ISO, MDY' SET timezone = 'UTC'
AS $$
DECLARE
    held record;
    too_many boolean;
    columns text;
BEGIN
    SELECT * INTO held FROM daily_table(table_name);
    IF held.strays IS NULL OR to_regclass(partition_name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', held.relation);
    FOR attempt IN 1..2 LOOP  -- first without the second lock: a day that cannot be created blocks no writer
        IF attempt = 2 THEN
            EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', held.strays);
        END IF;
        EXECUTE format(
            'SELECT count(*) > $3 FROM (SELECT FROM %s WHERE %I >= $1 AND %2$I < $2 LIMIT $3 + 1) AS waiting',
            held.strays, held.time_column) INTO too_many USING first_moment, next_moment, most;
        IF too_many OR to_regclass(partition_name) IS NOT NULL THEN
            RETURN false;
        END IF;
    END LOOP;
    -- A partition must not have an identity of its own, and a generated column takes no values.
    EXECUTE format('CREATE TABLE %I (LIKE %s INCLUDING ALL EXCLUDING IDENTITY)', partition_name, held.relation);
    SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
    WHERE attrelid = held.relation AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
    EXECUTE format(
        'WITH moved AS (DELETE FROM %1$s WHERE %2$I >= %3$L AND %2$I < %4$L RETURNING *)
         INSERT INTO %5$I (%6$s) SELECT %6$s FROM moved',
        held.strays, held.time_column, first_moment, next_moment, partition_name, columns);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        held.relation, partition_name, first_moment, next_moment);
    RETURN true;
EXCEPTION WHEN invalid_object_definition THEN  -- it overlaps another partition
    RETURN false;
END
$$;
REVOKE EXECUTE ON FUNCTION attach_partition FROM PUBLIC;
COMMENT ON FUNCTION attach_partition IS 'Creates a partition for a range of time; false if it has one, or cannot get one';

-- Only the owner can create any day: odd timestamps, or a stolen role, must not create endless tables.
CREATE OR REPLACE FUNCTION make_day(table_name text, day date) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
    RETURN CASE
        WHEN day BETWEEN (now() AT TIME ZONE 'UTC')::date - 60 AND (now() AT TIME ZONE 'UTC')::date + 7
            OR pg_has_role(session_user, current_user, 'MEMBER')
        THEN attach_partition(
            table_name, table_name || to_char(day, '_YYYYMMDD'),
            day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC')
        ELSE false
    END;
REVOKE EXECUTE ON FUNCTION make_day FROM PUBLIC;
COMMENT ON FUNCTION make_day IS
    'Creates a UTC day''s partition; false if it has one, or cannot get one. For the owner any day, else -60 to +7 days';

-- Consumers of earlier versions call it before they copy rows.
CREATE OR REPLACE FUNCTION make_heartbeats_partition(day date) RETURNS boolean
    LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT
    RETURN make_day('heartbeats', day);
REVOKE EXECUTE ON FUNCTION make_heartbeats_partition FROM PUBLIC;
COMMENT ON FUNCTION make_heartbeats_partition IS 'make_day() for heartbeats';
DROP FUNCTION IF EXISTS attach_heartbeats(text, timestamptz, timestamptz, integer);

-- The coming days, and days of the last two months with rows in the default partition. Other days get no partition,
-- because odd timestamps would create one each.
DROP FUNCTION IF EXISTS heartbeats_days_to_make(integer, integer);
CREATE OR REPLACE FUNCTION days_to_make(table_name text, keep_days integer, ahead_days integer) RETURNS SETOF date
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    held record;
    today date := (now() AT TIME ZONE 'UTC')::date;
BEGIN
    SELECT * INTO held FROM daily_table(table_name);
    IF held.strays IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT wanted.day
         FROM (
             SELECT $1 + ahead AS day FROM generate_series(0, $3) AS ahead
             UNION
             SELECT DISTINCT (%I AT TIME ZONE ''UTC'')::date FROM %s
             WHERE %1$I >= ($1 - least($2, 60))::timestamp AT TIME ZONE ''UTC''
               AND %1$I < ($1 + $3 + 1)::timestamp AT TIME ZONE ''UTC''
         ) AS wanted
         WHERE to_regclass(%3$L || to_char(wanted.day, ''_YYYYMMDD'')) IS NULL
         ORDER BY wanted.day < $1, abs(wanted.day - $1)',
        held.time_column, held.strays, table_name) USING today, keep_days, ahead_days;
END
$$;
REVOKE EXECUTE ON FUNCTION days_to_make FROM PUBLIC;
COMMENT ON FUNCTION days_to_make IS 'Days that need a partition, the coming ones first; keep_days is NULL if the rows are kept for ever';

-- Needs no right of its own: only the owner may insert into daily_tables. If a lock is busy, because a reader's transaction
-- stays open, the consumer's maintenance creates the coming days later.
CREATE OR REPLACE FUNCTION partition_by_day(table_name text) RETURNS boolean
    LANGUAGE plpgsql SET search_path FROM CURRENT SET lock_timeout = '1s'
AS $$
DECLARE
    held record;
BEGIN
    IF to_regclass(table_name) IS NULL THEN
        RAISE 'cannot partition % by day: there is no table %', table_name, table_name
            USING HINT = 'Create it first, with PARTITION BY RANGE (the time of the event).';
    END IF;
    INSERT INTO daily_tables VALUES (partition_by_day.table_name) ON CONFLICT DO NOTHING;
    SELECT * INTO held FROM daily_table(table_name);
    IF held.relation IS NULL THEN
        DELETE FROM daily_tables AS one WHERE one.table_name = partition_by_day.table_name;
        RAISE WARNING '% is not a partitioned table: its rows are kept for ever', table_name
            USING HINT = 'Create it with PARTITION BY RANGE (the time of the event).';
        RETURN false;
    END IF;
    IF held.strays IS NULL THEN  -- rows of days without a partition must not be rejected
        EXECUTE format('CREATE TABLE %I PARTITION OF %s DEFAULT', table_name || '_default', held.relation);
    END IF;
    BEGIN
        FOR day IN -1..7 LOOP
            PERFORM make_day(table_name, (now() AT TIME ZONE 'UTC')::date + day);
        END LOOP;
    EXCEPTION WHEN lock_not_available THEN
        RAISE WARNING 'cannot create the coming days'' partitions now: a transaction uses %', table_name;
    END;
    RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION partition_by_day FROM PUBLIC;
COMMENT ON FUNCTION partition_by_day IS
    'Has the consumer create a table''s daily partitions, and drop old ones; false if the table is not partitioned';

COMMIT;

-- The coming days, and one partition for all older days. For each new partition, PostgreSQL reads the default partition
-- under a lock, so it must stay small, also with many old rows.
BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
DO $$
DECLARE
    oldest date;
BEGIN
    PERFORM partition_by_day('heartbeats');
    SELECT least((now() AT TIME ZONE 'UTC')::date - 60, min(to_date(substring(relname FROM '[0-9]{8}$'), 'YYYYMMDD'))) INTO oldest
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'heartbeats'::regclass AND relname ~ '^heartbeats_[0-9]{8}$';
    -- Once, with any number of rows: 10 microseconds a row.
    PERFORM attach_partition('heartbeats', 'heartbeats_old', '-infinity', oldest::timestamp AT TIME ZONE 'UTC', 2147483646);
END
$$;
COMMIT;
