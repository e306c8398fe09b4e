-- A topic's events go into one table; until now, all went into heartbeats.
ALTER TABLE kafka_topics ADD COLUMN table_name text NOT NULL DEFAULT 'heartbeats';
