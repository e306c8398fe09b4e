-- The database decides what is old. The functions that took a moment from the consumer's clock are gone.
CREATE TABLE IF NOT EXISTS maintenance_turn ();
CREATE TABLE IF NOT EXISTS heartbeats_horizon (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    dropped_before timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS retention_floor (
    only_row                boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    retention_days          integer NOT NULL DEFAULT 1 CHECK (retention_days >= 1),
    rejected_retention_days integer NOT NULL DEFAULT 1 CHECK (rejected_retention_days >= 1),
    rollup_retention_days   integer NOT NULL DEFAULT 1 CHECK (rollup_retention_days >= 1),
    rejected_max_bytes      bigint  NOT NULL DEFAULT 1073741824 CHECK (rejected_max_bytes >= 67108864)
);
INSERT INTO retention_floor DEFAULT VALUES ON CONFLICT DO NOTHING;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'retention_floor'::regclass AND attname = 'rejected_max_bytes') THEN
        ALTER TABLE retention_floor ADD COLUMN
            rejected_max_bytes bigint NOT NULL DEFAULT 1073741824 CHECK (rejected_max_bytes >= 67108864);
    END IF;
END
$$;
DROP FUNCTION IF EXISTS drop_strays(timestamptz, integer);
DROP FUNCTION IF EXISTS drop_rejected(timestamptz, integer);
DROP FUNCTION IF EXISTS drop_rollups(timestamptz, integer);
DROP FUNCTION IF EXISTS heartbeats_days_due(date, date);
