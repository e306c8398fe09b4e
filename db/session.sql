-- Prepares a session that changes the schema: its settings, and the lock that admits one session at a time.

SET client_min_messages = warning;
-- A lock held by another session, such as a reader's open transaction, makes this fail instead of hang.
SET lock_timeout = '60s';
-- Functions also write times into statements. With 'SQL', a zone such as IST would be read as another one.
SET DateStyle = 'ISO, MDY';

-- Everything is created in the first schema of the search path. Our functions look only there: not in a schema named like
-- the caller's role, and in pg_temp, where any role may create tables, last.
DO $$
DECLARE
    home name := (SELECT name FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, nth)
                  WHERE name !~ '^pg_' ORDER BY nth LIMIT 1);
BEGIN
    IF home IS NULL THEN
        RAISE 'there is no schema to create the tables in: search_path is %', current_setting('search_path')
            USING HINT = 'CREATE SCHEMA public; or set search_path to a schema that exists.';
    END IF;
    PERFORM set_config('search_path', format('%I, pg_temp', home), false);
END
$$;

-- One session at a time: two that create the same table would fail, also with IF NOT EXISTS. Each transaction of these
-- files locks this table first. Transactions are short, because consumers are running. An advisory lock would let any
-- role, such as the reader, block an upgrade.
DO $$
BEGIN
    CREATE TABLE IF NOT EXISTS schema_turn ();
EXCEPTION WHEN unique_violation OR duplicate_table OR duplicate_object THEN NULL;  -- made by another session just now
END
$$;

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
CREATE TABLE IF NOT EXISTS heartbeat_migrations (
    number     integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE schema_turn IS 'Locked by the session that applies db/schema.sql or db/roles.sql';
COMMENT ON TABLE heartbeat_migrations IS 'The files of db/migrations/ that this database has had, or did not need because it was made later';
COMMIT;
