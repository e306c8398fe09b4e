-- Refuses a database that has had a migration that schema.sql does not list. It includes this file after the migrations.

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
