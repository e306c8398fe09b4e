-- The list of all objects that schema.sql creates, and a check of it. See schema.sql, which includes this file.

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;

CREATE OR REPLACE FUNCTION heartbeat_objects() RETURNS name[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ARRAY[
        -- Tables, a sequence and a view; the days' partitions are those that inherit from heartbeats
        'alarm_people', 'alarm_positions', 'alarm_turn', 'alarms', 'daily_tables', 'forgotten',
        'heartbeat_migrations', 'heartbeats', 'heartbeats_by_hand_id', 'heartbeats_fleet', 'heartbeats_horizon',
        'heartbeats_outdated', 'heartbeats_per_customer', 'heartbeats_per_minute', 'heartbeats_touched',
        'kafka_ledger', 'kafka_log_ends', 'kafka_topics', 'maintenance_turn', 'patient_heartbeats', 'pipeline_events',
        'rejected_heartbeats', 'rejected_turn', 'retention_floor', 'schema_turn',
        -- Functions
        'alarm_turn', 'attach_partition', 'bound_rejected', 'customer_history', 'customer_width', 'daily_table',
        'days_to_drop', 'days_to_make', 'drop_day', 'drop_events', 'drop_rejected', 'drop_rollups', 'drop_strays',
        'fleet_from_heartbeats', 'fleet_history', 'fleet_width', 'free_generation', 'heartbeat_objects', 'kafka_flow',
        'kafka_lag', 'kafka_place', 'kafka_place_id', 'line_ends', 'look_for_alarms', 'maintenance_turn', 'make_day',
        'make_heartbeats_partition', 'note_dropped', 'note_heartbeats', 'noted_minutes', 'partition_by_day',
        'refresh_rollups', 'rejected_turn',
        'release_rejected', 'retention_limit', 'sum_up_fleet'
    ]::name[];
COMMENT ON FUNCTION heartbeat_objects IS 'The names of the objects that db/schema.sql creates: roles.sql changes no others';

-- A function that runs with the owner's rights must be callable only by roles that roles.sql grants it to, and must find
-- only our tables.
DO $$
DECLARE
    unsafe text := (
        SELECT string_agg(oid::regprocedure::text, ', ') FROM pg_proc
        WHERE pronamespace = quote_ident(current_schema())::regnamespace AND proname = ANY (heartbeat_objects()) AND prosecdef
          AND (has_function_privilege('public', oid, 'EXECUTE')
               OR format('search_path=%I, pg_temp', current_schema()) = ANY (proconfig) IS NOT TRUE));
BEGIN
    IF unsafe IS NOT NULL THEN
        RAISE 'not safe to run with the owner''s rights: %', unsafe
            USING HINT = 'Each such function needs REVOKE EXECUTE ... FROM PUBLIC and SET search_path FROM CURRENT.';
    END IF;
END
$$;

COMMIT;
