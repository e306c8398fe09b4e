-- Alarms about people: silent, high, low, stuck. See schema.sql, which includes this file.

BEGIN;
LOCK TABLE schema_turn IN EXCLUSIVE MODE;

CREATE OR REPLACE FUNCTION alarm_turn() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT
AS $$
BEGIN
    LOCK TABLE alarm_turn IN EXCLUSIVE MODE NOWAIT;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$;
REVOKE EXECUTE ON FUNCTION alarm_turn FROM PUBLIC;
COMMENT ON FUNCTION alarm_turn IS 'Takes the lock of the search for alarms until the transaction ends; false if another session holds it';

-- Looks at the next five seconds of event time, and opens and closes alarms. All this is one transaction, so that a crash
-- neither loses nor doubles an alarm. It does not use the clock: yesterday's heartbeats give yesterday's alarms.
-- Each Kafka partition has its own position in event time. A partition has reached a moment if the median of its last nine
-- heartbeats is past that moment: a single sender whose clock is ahead does not count. A call looks at all partitions with
-- the same position. A partition that is behind catches up alone; its people are not silent meanwhile. If it is
-- more than an hour behind one that is ready, it waits for that one. A heartbeat is ignored here if it is stored after a
-- call has looked at its five seconds.
CREATE OR REPLACE FUNCTION look_for_alarms(
    silent_s double precision,     -- without a heartbeat; 0 here and below: no such alarm
    outside_s double precision,    -- outside the usual range, by the averages of five seconds
    outside_bpm double precision,  -- the least distance from the usual rate to either end of the usual range
    stuck_s double precision,      -- with the same value
    OUT windows integer,           -- 1; 0 if there is nothing to look at yet; NULL while another session holds the lock
    OUT changed jsonb              -- the alarms that were opened or closed, as an array
)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET "TimeZone" TO 'UTC' SET "DateStyle" TO 'ISO'
    SET plan_cache_mode TO force_custom_plan  -- a plan for any time would read all days
AS $$
#variable_conflict use_column
DECLARE
    origin CONSTANT timestamptz := '0001-01-01 00:00:00+00';
    begins timestamptz;
    ends timestamptz;
    newest timestamptz;
    ready bigint[];
    behind bigint[];
BEGIN
    IF NOT alarm_turn() THEN
        RETURN;
    END IF;
    windows := 0;
    changed := '[]';

    -- Find the partitions that have reached the end of their next five seconds, and of these the ones that are furthest
    -- behind. A new partition starts one hour before its newest heartbeats.
    WITH reached AS (
        SELECT partition_id, coalesce(looked_until, date_bin('5 s', tail.newest - interval '1 h', origin)) AS looked_until,
               tail.newest
        FROM (
            SELECT (generation::bigint << 16) | partition AS partition_id,
                   kafka_place_id(generation, partition, next_offset) AS next_id
            FROM kafka_ledger
        ) AS ledger
        LEFT JOIN alarm_positions USING (partition_id),
        LATERAL (
            SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY "timestamp") AS newest FROM (
                SELECT "timestamp" FROM heartbeats
                -- Offsets of rejected messages lie between; the bound is arbitrary, for a partition without heartbeats.
                WHERE id >= next_id - 10000 AND id < next_id AND id >> 40 = partition_id
                  -- Spares the older days. Nearer to the position, only the ones ahead of it would be left to vote.
                  AND "timestamp" >= coalesce(looked_until - interval '1 h', '-infinity')
                ORDER BY id DESC LIMIT 9) AS last_nine
        ) AS tail
    )
    SELECT looked_until, array_agg(partition_id), min(reached.newest),
           (SELECT array_agg(partition_id) FROM reached AS other
            WHERE other.looked_until <> reached.looked_until AND other.looked_until + interval '5 s' <= other.newest)
        INTO begins, ready, newest, behind
    FROM reached WHERE looked_until + interval '5 s' <= reached.newest
    GROUP BY looked_until
    ORDER BY looked_until < max(looked_until) OVER () - interval '1 h', looked_until LIMIT 1;
    IF begins IS NULL THEN
        RETURN;
    END IF;
    windows := 1;
    ends := begins + interval '5 s';

    -- Update each person who has a heartbeat in the five seconds.
    INSERT INTO alarm_people AS person (customer_id, partition_id, first_at, seen_at, bpm, side, side_since, same_bpm, same_since)
    SELECT customer_id, seen.partition_id, seen.first_at, seen.seen_at, seen.bpm,
           now_at.side, CASE WHEN now_at.side = before.side AND is_unbroken THEN before.side_since ELSE seen.first_at END,
           now_at.same_bpm, CASE WHEN now_at.same_bpm = before.same_bpm AND is_unbroken THEN before.same_since
                                 WHEN now_at.same_bpm IS NOT NULL THEN seen.first_at END
    FROM (
        SELECT customer_id, max(id >> 40) AS partition_id, min("timestamp") AS first_at, max("timestamp") AS seen_at,
               avg(heart_rate)::real AS bpm, min(heart_rate) AS lowest, max(heart_rate) AS highest
        FROM heartbeats WHERE "timestamp" >= begins AND "timestamp" < ends AND id >> 40 = ANY (ready) GROUP BY customer_id
    ) AS seen
    LEFT JOIN alarm_people AS before USING (customer_id),
    LATERAL (SELECT CASE WHEN seen.bpm > usual_high THEN 1 WHEN seen.bpm < usual_low THEN -1 ELSE 0 END AS side,
                    CASE WHEN lowest = highest THEN lowest END AS same_bpm,
                    -- A longer gap does not count as high, low or stuck: what was in it is unknown.
                    before.seen_at > seen.first_at - interval '1 min' AS is_unbroken) AS now_at
    ON CONFLICT (customer_id) DO UPDATE SET (partition_id, first_at, seen_at, bpm, side, side_since, same_bpm, same_since)
        = (excluded.partition_id, excluded.first_at, excluded.seen_at, excluded.bpm, excluded.side, excluded.side_since,
           excluded.same_bpm, excluded.same_since)
        -- Another partition may be further; one of a newer topic starts again.
        WHERE person.seen_at < excluded.seen_at OR person.partition_id >> 16 < excluded.partition_id >> 16;
    IF NOT FOUND THEN  -- skip all time without heartbeats at once
        ends := greatest(ends, date_bin(
            '5 s', least(newest, (SELECT min("timestamp") FROM heartbeats WHERE "timestamp" >= ends)), origin));
    END IF;
    -- Silence counts only while the partition has heartbeats in each five seconds: an outage makes nobody silent.
    INSERT INTO alarm_positions AS position (partition_id, looked_until, steady_since)
    SELECT partition_id, ends,
           CASE WHEN partition_id IN (SELECT partition_id FROM alarm_people WHERE seen_at >= begins) THEN begins END
    FROM unnest(ready) AS partition_id
    ON CONFLICT (partition_id) DO UPDATE SET looked_until = excluded.looked_until,
        steady_since = CASE WHEN excluded.steady_since IS NOT NULL THEN coalesce(position.steady_since, excluded.steady_since) END;

    -- Compute a person's usual range again after each hour of event time, from the averages of the last day's minutes. It
    -- reaches from the median to either side, four times as far as the 10th and the 90th percentile. The minutes of an
    -- episode hardly move percentiles.
    UPDATE alarm_people AS person
    SET usual_low = rate[2] - greatest(4 * (rate[2] - rate[1]), outside_bpm),
        usual_high = rate[2] + greatest(4 * (rate[3] - rate[2]), outside_bpm),
        usual_at = CASE WHEN minutes >= 30 THEN ends ELSE ends - interval '55 min' END  -- tried again in five minutes
    FROM (
        SELECT customer_id FROM alarm_people
        WHERE partition_id = ANY (ready) AND (usual_at IS NULL OR usual_at <= ends - interval '1 h')
          AND seen_at > ends - interval '1 day'  -- others have no minutes, and would take the places
        ORDER BY usual_at NULLS FIRST LIMIT 50  -- so that a call stays short
    ) AS due, LATERAL (
        SELECT count(*) AS minutes, CASE WHEN count(*) >= 30 THEN
                   percentile_cont(ARRAY[0.1, 0.5, 0.9]) WITHIN GROUP (ORDER BY sum_bpm::float8 / readings) END AS rate
        FROM heartbeats_per_minute AS sums
        WHERE sums.customer_id = due.customer_id AND minute >= ends - interval '1 day' AND minute < ends
    ) AS usual
    WHERE person.customer_id = due.customer_id;

    WITH people AS (
        SELECT person.*, CASE WHEN steady_since IS NOT NULL THEN ends - greatest(seen_at, steady_since) END AS unheard
        FROM alarm_people AS person JOIN alarm_positions USING (partition_id) WHERE partition_id = ANY (ready)
    ), opened AS (
        INSERT INTO alarms (customer_id, kind, started_at, noticed_at, value, usual_low, usual_high)
        SELECT customer_id, kind, since, ends, round(bpm), usual_low, usual_high
        FROM people, LATERAL (VALUES
            ('silent', seen_at, silent_s > 0 AND unheard > make_interval(secs => silent_s)
                       AND seen_at > ends - interval '1 h' - make_interval(secs => silent_s)),
            ('high', side_since, outside_s > 0 AND side = 1 AND seen_at - side_since >= make_interval(secs => outside_s)),
            ('low', side_since, outside_s > 0 AND side = -1 AND seen_at - side_since >= make_interval(secs => outside_s)),
            ('stuck', same_since, stuck_s > 0 AND seen_at - same_since >= make_interval(secs => stuck_s))
        ) AS rule (kind, since, applies)
        WHERE applies
        ON CONFLICT DO NOTHING  -- such an alarm is open
        RETURNING alarms.*
    ), closed AS (
        UPDATE alarms SET ended_at = CASE WHEN kind IN ('high', 'low') THEN side_since ELSE first_at END
        FROM people
        WHERE alarms.customer_id = people.customer_id AND ended_at IS NULL AND seen_at >= begins AND CASE kind
            WHEN 'silent' THEN true
            WHEN 'stuck' THEN same_bpm IS DISTINCT FROM value
            -- Back in the usual range for outside_s: a shorter return does not make two alarms of one episode.
            WHEN 'high' THEN side < 1 AND seen_at - side_since >= make_interval(secs => outside_s)
            WHEN 'low' THEN side > -1 AND seen_at - side_since >= make_interval(secs => outside_s) END
        RETURNING alarms.*
    ), left_for_good AS (  -- no heartbeat for a day: the customer counts as gone
        UPDATE alarms SET ended_at = ends
        FROM alarm_people AS person
        WHERE alarms.customer_id = person.customer_id AND ended_at IS NULL AND person.seen_at < ends - interval '1 day'
          AND person.partition_id <> ALL (coalesce(behind, '{}'))  -- there the person may be heard yet
        RETURNING alarms.*
    )
    SELECT coalesce(jsonb_agg(to_jsonb(change)), '[]') INTO changed
    FROM (SELECT * FROM opened UNION ALL SELECT * FROM closed UNION ALL SELECT * FROM left_for_good) AS change;
END
$$;
REVOKE EXECUTE ON FUNCTION look_for_alarms FROM PUBLIC;
COMMENT ON FUNCTION look_for_alarms IS 'Looks for alarms in the next five seconds of event time';

COMMIT;
