-- What a session needs before it changes the schema: its settings, and the lock that makes sessions take turns.

\set ON_ERROR_STOP on
SET client_min_messages = warning;
-- Whoever holds a lock that we need, such as a reader's open transaction, makes this fail, not hang.
SET lock_timeout = '60s';
-- Also in functions that write a time into a statement. 'SQL' would write its zone as IST, say, and read that as another.
SET DateStyle = 'ISO, MDY';

-- Everything is created in the first schema of the search path, and our functions look nowhere else: not in one that is
-- named as their caller, and in pg_temp, which anybody may fill, last.
DO $$
DECLARE
    home name := (SELECT name FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
                  WHERE name !~ '^pg_' ORDER BY place LIMIT 1);
BEGIN
    IF home IS NULL THEN
        RAISE 'there is no schema to create the tables in: search_path is %', current_setting('search_path')
            USING HINT = 'CREATE SCHEMA public; or set search_path to a schema that exists.';
    END IF;
    PERFORM set_config('search_path', format('%I, pg_temp', home), false);
END
$$;

-- One at a time: two sessions that create the same table at once would fail, IF NOT EXISTS or not. Each transaction of
-- these files locks this table first. Transactions are short, for the sake of running consumers. A lock that anybody can
-- take, such as an advisory lock, would let a reader stop an upgrade.
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
