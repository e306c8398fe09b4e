-- One note stands for many minutes.
CREATE TABLE IF NOT EXISTS heartbeats_touched (
    minute   timestamptz NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    minutes  bigint      NOT NULL DEFAULT 1
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'heartbeats_touched'::regclass AND attname = 'minutes') THEN
        ALTER TABLE heartbeats_touched ADD COLUMN minutes bigint NOT NULL DEFAULT 1;
    END IF;
END
$$;
CREATE TABLE IF NOT EXISTS heartbeats_outdated (
    minute         timestamptz PRIMARY KEY,
    first_noted_at timestamptz NOT NULL,
    last_noted_at  timestamptz NOT NULL
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);
