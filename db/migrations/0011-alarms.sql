-- All three times are event times. A person has at most one open alarm of a kind.
CREATE TABLE alarms (
    customer_id varchar     NOT NULL COLLATE "C",
    kind        text        NOT NULL CHECK (kind IN ('silent', 'high', 'low', 'stuck')),
    started_at  timestamptz NOT NULL,
    noticed_at  timestamptz NOT NULL,
    ended_at    timestamptz,
    value       smallint    NOT NULL,
    usual_low   real,
    usual_high  real,
    PRIMARY KEY (customer_id, kind, started_at)
);
CREATE UNIQUE INDEX idx_open_alarms ON alarms (customer_id, kind) WHERE ended_at IS NULL;
CREATE INDEX idx_alarms_started ON alarms (started_at);

-- What look_for_alarms() knows of each person and partition. It updates them every five seconds: room in their pages
-- keeps those updates off the index.
CREATE TABLE alarm_people (
    customer_id  varchar     PRIMARY KEY COLLATE "C",
    partition_id bigint      NOT NULL,
    first_at     timestamptz NOT NULL,
    seen_at      timestamptz NOT NULL,
    bpm          real        NOT NULL,
    side         smallint    NOT NULL,
    side_since   timestamptz NOT NULL,
    same_bpm     smallint,
    same_since   timestamptz,
    usual_low    real,
    usual_high   real,
    usual_at     timestamptz
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE alarm_positions (
    partition_id bigint      PRIMARY KEY,
    looked_until timestamptz NOT NULL,
    steady_since timestamptz
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);
CREATE TABLE alarm_turn ();
