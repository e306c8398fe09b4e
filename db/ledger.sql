-- Row ids and topic generations. See schema.sql, which includes this file. The functions' word "place" is a position in
-- Kafka; the names stay, because users call them.

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;

CREATE OR REPLACE FUNCTION kafka_place_id(generation integer, partition integer, "offset" bigint) RETURNS bigint
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (generation::bigint << 56) | (partition::bigint << 40) | "offset";
COMMENT ON FUNCTION kafka_place_id IS 'The id of the row made from this position in Kafka';

CREATE OR REPLACE FUNCTION kafka_place(id bigint, OUT generation integer, OUT partition integer, OUT "offset" bigint)
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN ((id >> 56)::integer, ((id >> 40) & 65535)::integer, id & 1099511627775);
COMMENT ON FUNCTION kafka_place IS 'The position in Kafka of a row id: SELECT (kafka_place(id)).* FROM heartbeats';

-- The generation for a new topic; the caller has locked kafka_topics. Generations rise up to 127. After that, one without
-- rows is used again: one that no topic has, or that of the oldest topic that was re-created since and whose rows
-- retention has dropped. That topic's rows of the ledger are deleted.
CREATE OR REPLACE FUNCTION free_generation() RETURNS smallint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
DECLARE
    one smallint := coalesce((SELECT max(generation) FROM kafka_topics), 0) + 1;
    held regclass;
    is_used boolean;
BEGIN
    IF one <= 127 THEN
        RETURN one;
    END IF;
    FOR one IN
        SELECT number FROM generate_series(1, 127) AS number LEFT JOIN kafka_topics AS known ON generation = number
        WHERE topic IS NULL
           OR (EXISTS (SELECT FROM kafka_topics WHERE topic = known.topic AND first_seen_at > known.first_seen_at)
               AND NOT EXISTS (SELECT FROM kafka_ledger WHERE generation = number
                               AND (stored <> stored_dropped OR rejected <> rejected_dropped)))
        ORDER BY first_seen_at NULLS FIRST, number
    LOOP
        is_used := EXISTS (SELECT FROM rejected_heartbeats
                           WHERE id BETWEEN kafka_place_id(one, 0, 0) AND kafka_place_id(one, 65535, 1099511627775));
        FOR held IN SELECT relation FROM daily_tables, daily_table(table_name) WHERE relation IS NOT NULL LOOP
            EXIT WHEN is_used;
            EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE id BETWEEN $1 AND $2)', held) INTO is_used
            USING kafka_place_id(one, 0, 0), kafka_place_id(one, 65535, 1099511627775);
        END LOOP;
        CONTINUE WHEN is_used;
        DELETE FROM kafka_ledger WHERE generation = one;
        DELETE FROM kafka_log_ends WHERE generation = one;
        DELETE FROM forgotten WHERE generation = one;
        DELETE FROM kafka_topics WHERE generation = one;
        RETURN one;
    END LOOP;
    RETURN NULL;
END
$$;
REVOKE EXECUTE ON FUNCTION free_generation FROM PUBLIC;
COMMENT ON FUNCTION free_generation IS 'The generation for a new topic; NULL if there is none. It may be that of an older topic without rows';

-- A function and not a view: schema.sql can replace it without waiting for readers.
CREATE OR REPLACE FUNCTION kafka_lag(
    OUT topic text, OUT partition integer, OUT records bigint, OUT seconds double precision, OUT seen_at timestamptz
) RETURNS SETOF record LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT topic, partition, greatest(log_end - next_offset, 0),
           CASE WHEN log_end > next_offset THEN extract(epoch FROM clock_timestamp() - newest_stored_at) ELSE 0 END,
           seen_at
    FROM (SELECT DISTINCT ON (topic) topic, generation FROM kafka_topics ORDER BY topic, first_seen_at DESC) AS current
    JOIN kafka_ledger USING (generation) LEFT JOIN kafka_log_ends USING (generation, partition);
END;
COMMENT ON FUNCTION kafka_lag IS 'What Kafka holds beyond the ledger, in records and as the age of the newest stored one, as of seen_at';

-- Grafana's alert rules share this, so that one fault has one state. A consumer notes the ends of the logs every 5 s: 30 s
-- without a note mean that none runs, or that it cannot write to PostgreSQL. `behind` begins at the limits of the two rules
-- about lag. kafka_lag's `seconds` is NULL until a consumer has stored something.
CREATE OR REPLACE FUNCTION kafka_flow(
    OUT topic text, OUT table_name text, OUT state text, OUT waiting bigint, OUT behind_s double precision,
    OUT still_s double precision, OUT silent_s double precision
) RETURNS SETOF record LANGUAGE sql STABLE
BEGIN ATOMIC
    SELECT topic, table_name,
           CASE WHEN silent_s > 30 THEN 'no consumer'
                WHEN waiting > 0 AND still_s > 30 THEN 'stuck'
                WHEN waiting > 50000 OR behind_s > 30 THEN 'behind'
                WHEN still_s > 30 THEN 'nothing arrives'
                ELSE 'flowing' END,
           waiting, behind_s, still_s, silent_s
    FROM (
        SELECT topic, current.table_name, coalesce(sum(records), 0)::bigint AS waiting,
               coalesce(max(seconds), 0) AS behind_s,
               extract(epoch FROM clock_timestamp() - max(coalesce(updated_at, first_seen_at)))::double precision AS still_s,
               extract(epoch FROM clock_timestamp() - max(coalesce(seen_at, first_seen_at)))::double precision AS silent_s
        FROM (SELECT DISTINCT ON (topic) topic, generation, table_name, first_seen_at
              FROM kafka_topics ORDER BY topic, first_seen_at DESC) AS current
        LEFT JOIN kafka_ledger USING (generation) LEFT JOIN kafka_lag() USING (topic, partition)
        GROUP BY topic, current.table_name
    ) AS measured;
END;
COMMENT ON FUNCTION kafka_flow IS
    'By topic: what the flow from Kafka to PostgreSQL does, and since when the ledger stands still and no consumer wrote';

COMMIT;
