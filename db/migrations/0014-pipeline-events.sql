CREATE TABLE pipeline_events (
    id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at   timestamptz CHECK (ended_at >= started_at),
    kind       text        NOT NULL CHECK (kind IN ('started', 'stopped', 'rebalance', 'fenced', 'outage',
                                                    'maintenance_failed', 'schema_upgraded', 'partition_dropped')),
    source     text        NOT NULL CHECK (char_length(source) <= 100),
    detail     text        CHECK (char_length(detail) <= 500),
    noted_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
