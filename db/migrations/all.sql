-- Brings the tables of an older database to their present form: runs each migration that it has not had, in this order,
-- each in a transaction of its own. A new database needs none: schema.sql makes its tables in their present form.
--
-- To change a table, an index or the view:
-- 1. Change it in schema.sql.
-- 2. Write a migration that makes the same change to the form before. It locks at most one table that is in use: two
--    could deadlock with a consumer.
-- 3. Add it at the end of this list. Never change a migration that was released.
-- tests/integration/test_migrations.py compares a new database with upgraded ones. Functions and comments need no
-- migration: each run replaces them.

-- The first versions made their tables in several transactions. If the first run of one was interrupted, nothing says
-- which form its tables have.
BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
DO $$
DECLARE
    missing text;
    present text;
BEGIN
    SELECT string_agg(name, ', ') FILTER (WHERE to_regclass(name) IS NULL),
           string_agg(name, ', ') FILTER (WHERE to_regclass(name) IS NOT NULL) INTO missing, present
    FROM unnest(ARRAY['heartbeats_by_hand_id', 'heartbeats', 'rejected_heartbeats', 'kafka_topics', 'kafka_ledger']) AS name;
    IF missing <> '' AND present <> '' THEN
        RAISE 'the database has only a part of the tables: it has %, but not %', present, missing
            USING HINT = 'Nothing was changed. If an older schema.sql was interrupted, apply that version''s file to its end'
                ' first, then this one; or start with an empty database.';
    END IF;
END
$$;
COMMIT;

-- 0001 to 0007 take up every form that the tables had before migrations were numbered, so each may find its work done.
\set known ''
\set migration 0001-pause-older-rollups.sql
\ir once.sql
\set migration 0002-await-older-rollups.sql
\ir once.sql
\set migration 0003-last-record.sql
\ir once.sql
\set migration 0004-bound-of-the-quarantine.sql
\ir once.sql
\set migration 0005-retention-floor.sql
\ir once.sql
\set migration 0006-notes-of-an-hour.sql
\ir once.sql
\set migration 0007-rollups.sql
\ir once.sql
\set migration 0008-detail-of-a-reason.sql
\ir once.sql
\set migration 0009-words-beside-the-reason.sql
\ir once.sql
\set migration 0010-table-of-a-topic.sql
\ir once.sql
\set migration 0011-alarms.sql
\ir once.sql
\set migration 0012-duplicates.sql
\ir once.sql
\set migration 0013-log-ends.sql
\ir once.sql
\set migration 0014-pipeline-events.sql
\ir once.sql
\set migration 0016-daily-tables.sql
\ir once.sql

SELECT set_config('heartbeat.unknown', coalesce((
    SELECT string_agg(name, ', ' ORDER BY number) FROM heartbeat_migrations WHERE name <> ALL (string_to_array(:'known', ' '))
), ''), false) AS unknown \gset
DO $$
BEGIN
    IF current_setting('heartbeat.unknown') <> '' THEN
        RAISE 'the database is newer than these files: it has had %', current_setting('heartbeat.unknown')
            USING HINT = 'Nothing was changed. Apply the schema of the newest version that this database has had.';
    END IF;
END
$$;
