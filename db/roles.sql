-- The roles besides the owner: one that stores, one that looks. Run it after schema.sql, as the owner, any number of
-- times: it makes the roles, sets their passwords anew and leaves them exactly the rights below. It is for psql 15 or
-- newer, which takes the names and passwords from the environment (see .env).
\set ON_ERROR_STOP on
\getenv database POSTGRESQL_DATABASE
\getenv consumer POSTGRESQL_CONSUMER_USERNAME
\getenv consumer_password POSTGRESQL_CONSUMER_PASSWORD
\getenv reader GRAFANA_POSTGRESQL_USERNAME
\getenv reader_password GRAFANA_POSTGRESQL_PASSWORD

SELECT :{?database} AND :{?consumer} AND :{?consumer_password} AND :{?reader} AND :{?reader_password} AS complete \gset
\if :complete
\else
    DO $$ BEGIN RAISE 'names and passwords of the roles must be in the environment, as in .env'; END $$;
\endif

BEGIN;
-- One at a time: two sessions that grant on the same table at once would fail.
DO $$ BEGIN PERFORM pg_advisory_xact_lock(hashtextextended('heartbeat schema', 0)); END $$;

-- The owner would lose rights below, and a role of both kinds would have too many.
SELECT (:'consumer' = :'reader' OR current_user IN (:'consumer', :'reader'))::text AS shared \gset
\if :shared
    DO $$ BEGIN RAISE 'owner, consumer and reader must be three different roles'; END $$;
\endif

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY[:'consumer', :'reader']) AS name WHERE to_regrole(quote_ident(name)) IS NULL \gexec

-- Nobody has rights just by being able to connect.
REVOKE ALL ON DATABASE :"database" FROM PUBLIC, :"consumer", :"reader";
REVOKE ALL ON SCHEMA public FROM PUBLIC, :"consumer", :"reader";
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, :"consumer", :"reader";
REVOKE ALL ON ALL SEQUENCES IN SCHEMA public FROM PUBLIC, :"consumer", :"reader";
REVOKE ALL ON FUNCTION free_generation, make_heartbeats_partition, attach_heartbeats, maintenance_turn, refresh_rollups,
    heartbeats_days_to_make, heartbeats_days_to_drop, drop_heartbeats_day, drop_strays, drop_rejected, bound_rejected,
    drop_rollups, release_rejected FROM PUBLIC, :"reader";
GRANT CONNECT ON DATABASE :"database" TO :"consumer", :"reader";
GRANT USAGE ON SCHEMA public TO :"consumer", :"reader";

-- The consumer. What it stored it can neither change nor delete. Old data goes through functions that heed
-- retention_floor, replayed messages leave the quarantine through one that checks that their heartbeats are stored.
-- Rights on the parent hold for each day's partition. UPDATE on kafka_topics is what LOCK TABLE asks for.
ALTER ROLE :"consumer" LOGIN PASSWORD :'consumer_password';
GRANT SELECT, INSERT ON heartbeats TO :"consumer";
GRANT SELECT, INSERT ON rejected_heartbeats TO :"consumer";
GRANT SELECT ON retention_floor TO :"consumer";
GRANT SELECT, INSERT, UPDATE ON kafka_topics, kafka_ledger TO :"consumer";
GRANT INSERT ON heartbeats_touched TO :"consumer";
GRANT EXECUTE ON FUNCTION free_generation, make_heartbeats_partition, maintenance_turn, refresh_rollups,
    heartbeats_days_to_make, heartbeats_days_to_drop, drop_heartbeats_day, drop_strays, drop_rejected, bound_rejected,
    drop_rollups, release_rejected TO :"consumer";

-- The reader, for Grafana, which passes on whatever SQL a person types.
ALTER ROLE :"reader" LOGIN PASSWORD :'reader_password' CONNECTION LIMIT 20;
ALTER ROLE :"reader" SET default_transaction_read_only = on;
ALTER ROLE :"reader" SET statement_timeout = '10s';
-- A dashboard asks many small questions at once: compiling them or sharing them out costs more than it saves.
ALTER ROLE :"reader" SET jit = off;
ALTER ROLE :"reader" SET max_parallel_workers_per_gather = 0;
ALTER ROLE :"reader" SET idle_in_transaction_session_timeout = '10s';
GRANT SELECT ON ALL TABLES IN SCHEMA public TO :"reader";
COMMIT;
