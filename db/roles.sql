-- The roles besides the owner: the consumer, which stores, and the reader. Run it after schema.sql, as the owner, any
-- number of times: it creates the roles, sets their passwords and grants them exactly the rights below. It needs psql 15
-- or newer, which takes the names and passwords from the environment (see .env).
\set ON_ERROR_STOP on
\getenv database POSTGRESQL_DATABASE
\getenv consumer POSTGRESQL_CONSUMER_USERNAME
\getenv reader GRAFANA_POSTGRESQL_USERNAME

SELECT :{?database} AND :{?consumer} AND :{?reader} AS complete \gset
\if :complete
\else
    DO $$ BEGIN RAISE 'names and passwords of the roles must be in the environment, as in .env'; END $$;
\endif

-- PostgreSQL logs failed statements, and others if configured. So no password is sent, only its SCRAM verifier (RFC 5803),
-- which is no login. Perl computes it: Debian's psql and macOS include Perl. Characters that clients would rewrite
-- (SASLprep, RFC 4013) are rejected.
\set scram 'use Digest::SHA qw(sha256 hmac_sha256); use MIME::Base64; my ($name) = @ARGV; my $password = $ENV{$name};'
\set scram :scram 'length $password or die qq($name is empty\\n); my $text = $password;'
\set scram :scram 'if ($text =~ /[^\\x00-\\x7F]/ and utf8::decode($text)) { require Unicode::Normalize;'
\set scram :scram ' die qq($name: choose other characters, some of these have two encodings\\n)'
\set scram :scram ' if $text ne Unicode::Normalize::NFKC($text) or $text =~ /[\\x{AD}\\x{34F}\\x{1680}\\x{1806}'
\set scram :scram '\\x{180B}-\\x{180D}\\x{200B}-\\x{200D}\\x{2060}\\x{FE00}-\\x{FE0F}\\x{FEFF}]/; }'
\set scram :scram 'open my $random, q(<), q(/dev/urandom) or die; 16 == read $random, my $salt, 16 or die;'
\set scram :scram 'my $key = my $step = hmac_sha256($salt . pack(q(N), 1), $password);'
\set scram :scram '$key ^= $step = hmac_sha256($step, $password) for 2 .. 4096;'
\set scram :scram 'printf q(SCRAM-SHA-256$4096:%s$%s:%s), map { encode_base64($_, q()) }'
\set scram :scram ' $salt, sha256(hmac_sha256(q(Client Key), $key)), hmac_sha256(q(Server Key), $key);'
\set consumer_verifier `perl -we :'scram' POSTGRESQL_CONSUMER_PASSWORD`
\set reader_verifier `perl -we :'scram' GRAFANA_POSTGRESQL_PASSWORD`
SELECT starts_with(:'consumer_verifier', 'SCRAM-SHA-256$') AND starts_with(:'reader_verifier', 'SCRAM-SHA-256$')
    AS complete \gset
\if :complete
\else
    DO $$ BEGIN RAISE 'cannot compute the passwords'' SCRAM verifiers' USING HINT = 'The reason stands above. It needs'
        ' Perl with Digest::SHA, and names and passwords of the roles in the environment, as in .env.'; END $$;
\endif

BEGIN;
-- Only in the schema that schema.sql was applied to.
SELECT set_config('search_path', format('%s, pg_temp', relnamespace::regnamespace), true) AS search_path,
       relnamespace::regnamespace AS schema
FROM pg_class WHERE oid = 'heartbeats'::regclass \gset
-- One at a time: two sessions that grant on the same table at once would fail.
LOCK TABLE schema_turn IN EXCLUSIVE MODE;

-- The owner would lose rights below, and a shared role would have too many.
SELECT (:'consumer' = :'reader' OR current_user IN (:'consumer', :'reader'))::text AS shared \gset
\if :shared
    DO $$ BEGIN RAISE 'owner, consumer and reader must be three different roles'; END $$;
\endif

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY[:'consumer', :'reader']) AS name WHERE to_regrole(quote_ident(name)) IS NULL \gexec

-- Our objects, and whether there are others. Then the database is shared, and PUBLIC's rights on it stay.
SELECT array_agg(oid) FILTER (WHERE class = 'pg_class'::regclass AND is_ours) AS relations,
       array_agg(oid) FILTER (WHERE class = 'pg_proc'::regclass AND is_ours AND is_guarded) AS functions,
       count(*) FILTER (WHERE NOT is_ours) = 0 AND NOT EXISTS (SELECT FROM pg_largeobject_metadata) AS alone
FROM (
    SELECT 'pg_class'::regclass AS class, oid, relnamespace AS namespace, false AS is_guarded,
           relnamespace = to_regnamespace(:'schema') AND relname = ANY (heartbeat_objects())
           OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'heartbeats'::regclass) AS is_ours
    FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'pg_proc'::regclass, oid, pronamespace, prosecdef OR proname IN ('attach_partition', 'partition_by_day'),
           pronamespace = to_regnamespace(:'schema') AND proname = ANY (heartbeat_objects())
    FROM pg_proc
) AS found
WHERE namespace::regnamespace::text !~ '^(pg_.*|information_schema)$'
  AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = class AND objid = found.oid AND deptype = 'e') \gset

-- A role that can connect has no rights on our objects.
SELECT format('REVOKE ALL ON %s %s FROM PUBLIC, %I, %I', CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
              oid::regclass, :'consumer', :'reader')
FROM pg_class WHERE oid = ANY (:'relations') \gexec
SELECT format('REVOKE ALL ON FUNCTION %s FROM PUBLIC, %I, %I', oid::regprocedure, :'consumer', :'reader')
FROM pg_proc WHERE oid = ANY (:'functions') \gexec
REVOKE ALL ON DATABASE :"database" FROM :"consumer", :"reader";
REVOKE ALL ON SCHEMA :schema FROM :"consumer", :"reader";
-- A lock table full of advisory locks makes every session's next lock fail. Temporary tables, large objects and messages
-- in the write-ahead log take space. Only a superuser can revoke these functions, and only from PUBLIC.
\if :alone
    REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
    REVOKE ALL ON SCHEMA :schema FROM PUBLIC;
    SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', oid::regprocedure)
    FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace AND pg_has_role(proowner, 'USAGE')
      AND proname ~ '^(lo_creat|lo_create|lo_from_bytea|pg_(try_)?advisory_.*lock.*|pg_logical_emit_message)$' \gexec
\endif
GRANT CONNECT ON DATABASE :"database" TO :"consumer", :"reader";
GRANT USAGE ON SCHEMA :schema TO :"consumer", :"reader";

-- The consumer. It can neither change nor delete stored rows. Functions drop old data as retention_floor allows, and
-- another one deletes replayed messages whose heartbeats are stored. Only the owner can forget people. Rights on the parent table apply to each partition.
-- LOCK TABLE needs the UPDATE on kafka_topics.
ALTER ROLE :"consumer" LOGIN PASSWORD :'consumer_verifier';
GRANT SELECT, INSERT ON heartbeats TO :"consumer";
-- Not rejected_at: the oldest rows are deleted first, and a role must not make its rows the newest for ever.
GRANT SELECT, INSERT (id, topic, partition, "offset", key, payload, payload_length, reason, appended_at, detail)
    ON rejected_heartbeats TO :"consumer";
GRANT SELECT ON retention_floor, daily_tables, forgotten TO :"consumer";
GRANT SELECT, INSERT, UPDATE ON kafka_topics, kafka_ledger, kafka_log_ends TO :"consumer";
GRANT INSERT ON heartbeats_touched TO :"consumer";
-- Not noted_at, for the same reason as rejected_at.
GRANT INSERT (id, started_at, ended_at, kind, source, detail) ON pipeline_events TO :"consumer";
GRANT EXECUTE ON FUNCTION free_generation, make_day, make_heartbeats_partition, maintenance_turn, refresh_rollups,
    days_to_make, days_to_drop, drop_day, drop_strays, drop_rejected, bound_rejected, drop_rollups, drop_events,
    look_for_alarms, rejected_turn, release_rejected TO :"consumer";

-- The reader, for Grafana, which runs any SQL that a person types. Such a person can change the role's settings, also
-- permanently with ALTER ROLE: so this sets them again. They only guard against mistakes. Real limits, which only a
-- superuser can lift, are the number of connections, and temp_file_limit if the owner may set it.
ALTER ROLE :"reader" RESET ALL;
ALTER ROLE :"reader" IN DATABASE :"database" RESET ALL;
ALTER ROLE :"reader" LOGIN PASSWORD :'reader_verifier' CONNECTION LIMIT 20;
ALTER ROLE :"reader" SET default_transaction_read_only = on;
ALTER ROLE :"reader" SET statement_timeout = '10s';
-- A dashboard runs many small queries at once: compiling or parallelizing them costs more than it saves.
ALTER ROLE :"reader" SET jit = off;
ALTER ROLE :"reader" SET max_parallel_workers_per_gather = 0;
ALTER ROLE :"reader" SET idle_in_transaction_session_timeout = '10s';
SELECT format('ALTER ROLE %I SET transaction_timeout = %L', :'reader', '60s')
WHERE EXISTS (SELECT FROM pg_settings WHERE name = 'transaction_timeout') \gexec
SELECT set_config('heartbeat.reader', :'reader', true) AS reader_name \gset
DO $$
DECLARE
    reader text := current_setting('heartbeat.reader');
    bound text := format('ALTER ROLE %I SET temp_file_limit = %L;', reader, '256MB');
BEGIN
    EXECUTE bound;
EXCEPTION WHEN insufficient_privilege THEN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = reader AND rolconfig::text ~ 'temp_file_limit') THEN
        RAISE WARNING 'the temporary files of the reader % are not bounded', reader
            USING HINT = 'A superuser can do it: ' || bound;
    END IF;
END
$$;
SELECT format('GRANT SELECT ON %s TO %I', oid::regclass, :'reader')
FROM pg_class WHERE oid = ANY (:'relations') AND relkind <> 'S' AND NOT relispartition AND oid <> 'forgotten'::regclass \gexec
GRANT SELECT ON heartbeats_default TO :"reader";  -- to count the rows without a day; they can be read in heartbeats anyway

-- Both roles must find the tables.
SELECT format('ALTER ROLE %I IN DATABASE %I SET search_path = %s', name, :'database', :'schema')
FROM unnest(ARRAY[:'consumer', :'reader']) AS name WHERE :'schema' <> 'public' \gexec

-- Excess rights of the reader, by any role that it may assume: from an attribute, a membership or a server's default.
-- PUBLIC may create in `public` in a database from before PostgreSQL 15.
SELECT set_config('heartbeat.excess', coalesce((
    SELECT string_agg(DISTINCT excess, ', ')
    FROM pg_roles AS worn, LATERAL (
        SELECT format('write to %s', oid::regclass) FROM pg_class
        WHERE oid = ANY (:'relations') AND CASE relkind
            WHEN 'S' THEN has_sequence_privilege(worn.oid, pg_class.oid, 'USAGE, UPDATE')
            ELSE has_table_privilege(worn.oid, pg_class.oid, 'DELETE, TRUNCATE, TRIGGER')
                 OR has_any_column_privilege(worn.oid, pg_class.oid, 'INSERT, UPDATE, REFERENCES') END
        UNION ALL
        SELECT format('call %s', oid::regprocedure) FROM pg_proc
        WHERE oid = ANY (:'functions') AND has_function_privilege(worn.oid, pg_proc.oid, 'EXECUTE')
        UNION ALL
        SELECT 'create in the schema ' || :'schema' WHERE has_schema_privilege(worn.oid, to_regnamespace(:'schema'), 'CREATE')
        UNION ALL
        SELECT 'take on the role ' || worn.rolname WHERE worn.rolsuper OR worn.rolcreaterole OR worn.rolreplication
    ) AS found (excess)
    WHERE pg_has_role(:'reader', worn.oid, 'MEMBER')), ''), true) AS excess \gset
DO $$
DECLARE
    reader text := current_setting('heartbeat.reader');
    excess text := current_setting('heartbeat.excess');
BEGIN
    IF excess <> '' THEN
        RAISE 'the reader % can still %', reader, excess USING HINT = 'Take these rights, attributes or memberships from'
            ' it or from PUBLIC, or apply schema.sql and roles.sql to a database of their own; then run this again.';
    END IF;
    IF has_database_privilege(reader, current_database(), 'TEMPORARY')
        OR has_function_privilege(reader, 'pg_advisory_lock(bigint)', 'EXECUTE')
        OR has_function_privilege(reader, 'lo_create(oid)', 'EXECUTE') THEN
        RAISE WARNING 'the reader % can make temporary tables or large objects, or take advisory locks, as PUBLIC can', reader
            USING HINT = 'Only a superuser can take that away, and it is done only in a database that holds nothing but'
                ' the pipeline''s objects (docs/production.md).';
    END IF;
END
$$;
COMMIT;
