-- Refuses a database that has only a part of the tables. See schema.sql, which includes this file before the migrations.

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

\set known ''
