-- Applies :migration, unless this database has had it or is new.
\set known :known :migration ' '
BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;
SELECT to_regclass('heartbeats') IS NOT NULL
       AND NOT EXISTS (SELECT FROM heartbeat_migrations WHERE number = left(:'migration', 4)::integer) AS wanted \gset
\if :wanted
    \ir :migration
    INSERT INTO heartbeat_migrations VALUES (left(:'migration', 4)::integer, :'migration');
    SELECT to_regclass('pipeline_events') IS NOT NULL AS noted \gset
    \if :noted
        INSERT INTO pipeline_events (kind, source, detail) VALUES ('schema_upgraded', 'database', :'migration');
    \endif
\endif
COMMIT;
