CREATE TABLE kafka_log_ends (
    generation       smallint    NOT NULL,
    partition        integer     NOT NULL,
    log_end          bigint      NOT NULL,
    seen_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    newest_stored_at timestamptz,
    PRIMARY KEY (generation, partition)
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
