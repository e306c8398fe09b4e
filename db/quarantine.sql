-- The limit of the quarantine, and replays. See schema.sql, which includes this file.

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;

CREATE OR REPLACE FUNCTION rejected_turn() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    LOCK TABLE rejected_turn IN EXCLUSIVE MODE;
END
$$;
REVOKE EXECUTE ON FUNCTION rejected_turn FROM PUBLIC;
COMMENT ON FUNCTION rejected_turn IS 'Waits for the lock of the quarantine, and holds it until the transaction ends';

-- Deletes the oldest messages, of any age, until the rest takes at most max_bytes: a flood must not fill the disk. One
-- call deletes at most `most` messages and a gigabyte. It always keeps retention_floor.rejected_max_bytes of the newest.
-- It measures only if the files are larger than the limit (they do not shrink when rows are deleted): up to 4,000 pages
-- of rows (about 100,000 messages; large payloads are stored elsewhere) exactly, more by a sample.
CREATE OR REPLACE FUNCTION bound_rejected(max_bytes bigint, most integer DEFAULT 50000) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    allowed bigint := greatest(max_bytes, (SELECT rejected_max_bytes FROM retention_floor), 64 * 1024 * 1024);
    on_disk bigint := pg_total_relation_size('rejected_heartbeats');
    pages bigint := pg_relation_size('rejected_heartbeats') / current_setting('block_size')::integer;
    percent float8 := least(100, 100.0 * 4000 / greatest(pages, 1));
    fixed_bytes CONSTANT integer := 150;  -- a row's other columns and headers, and its entries in two indexes
    surplus bigint;
    dropped bigint;
BEGIN
    IF on_disk <= allowed THEN
        RETURN 0;
    END IF;
    BEGIN
        LOCK TABLE rejected_turn IN EXCLUSIVE MODE NOWAIT;
    EXCEPTION WHEN lock_not_available THEN
        RETURN 0;
    END;
    SELECT least(on_disk, 100 / percent * coalesce(sum(
        fixed_bytes + pg_column_size(reason) + coalesce(pg_column_size(detail), 0) + coalesce(pg_column_size(key), 0)
        + coalesce(pg_column_size(payload), 0)
    ), 0)) - allowed INTO surplus FROM rejected_heartbeats TABLESAMPLE SYSTEM (percent);
    WITH oldest AS (
        SELECT id, rejected_at, fixed_bytes + pg_column_size(reason) + coalesce(pg_column_size(detail), 0)
                                + coalesce(pg_column_size(key), 0) + coalesce(pg_column_size(payload), 0) AS bytes
        FROM rejected_heartbeats ORDER BY rejected_at, id LIMIT CASE WHEN surplus > 0 THEN most ELSE 0 END
    ), summed AS (
        SELECT id, sum(bytes) OVER (ORDER BY rejected_at, id) - bytes AS older_bytes FROM oldest
    ), gone AS (
        DELETE FROM rejected_heartbeats WHERE id IN (
            SELECT id FROM summed WHERE older_bytes < least(surplus, 1024 * 1024 * 1024))
        RETURNING id
    ), counts AS (
        SELECT (id >> 56)::smallint AS generation, ((id >> 40) & 65535)::integer AS partition, count(*) AS number
        FROM gone GROUP BY 1, 2
    ), updated AS (
        UPDATE kafka_ledger AS ledger SET rejected_dropped = rejected_dropped + counts.number
        FROM counts WHERE ledger.generation = counts.generation AND ledger.partition = counts.partition
    )
    SELECT count(*) INTO dropped FROM gone;
    RETURN dropped;
END
$$;
REVOKE EXECUTE ON FUNCTION bound_rejected FROM PUBLIC;
COMMENT ON FUNCTION bound_rejected IS 'Deletes the oldest quarantined messages beyond so many bytes, counted in kafka_ledger.rejected_dropped; returns how many';

-- A replay may take a message out of the quarantine only once its event is stored. Only the owner can make tables in this
-- schema, so no other role decides what counts as stored.
DROP FUNCTION IF EXISTS release_rejected(bigint[]);
CREATE OR REPLACE FUNCTION release_rejected(ids bigint[], table_name text DEFAULT 'heartbeats') RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    released bigint;
BEGIN
    IF table_name = 'rejected_heartbeats' THEN
        RAISE 'the quarantine does not hold stored events';
    END IF;
    EXECUTE format(
        'WITH gone AS (
            DELETE FROM rejected_heartbeats AS rejected
            WHERE id = ANY ($1) AND EXISTS (SELECT FROM %I.%I AS stored WHERE stored.id = rejected.id)
            RETURNING 1
         )
         SELECT count(*) FROM gone', current_schema(), table_name) INTO released USING ids;
    RETURN released;
END
$$;
REVOKE EXECUTE ON FUNCTION release_rejected FROM PUBLIC;
COMMENT ON FUNCTION release_rejected IS 'Deletes quarantined messages whose events are stored in this table; returns how many';

COMMIT;
