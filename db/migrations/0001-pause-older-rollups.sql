-- An older refresh_rollups(), called by running consumers, rests until rollups.sql replaces it: it does not know the
-- table that 0007 fills.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_proc WHERE oid = to_regprocedure('refresh_rollups(integer)') AND prosrc ~ 'heartbeat rollups') THEN
        CREATE OR REPLACE FUNCTION refresh_rollups(most integer DEFAULT 10) RETURNS integer
            LANGUAGE sql SECURITY DEFINER SET search_path FROM CURRENT RETURN NULL::integer;
    END IF;
END
$$;
