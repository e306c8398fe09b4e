-- The table of contract.py. Apply it as the owner of the tables, after db/schema.sql (and db/roles.sql, if used). It can be
-- applied again: it keeps an existing table as it is.
CREATE TABLE IF NOT EXISTS trades (
    id          bigint      NOT NULL,     -- the event's position in Kafka, see kafka_place()
    symbol      text        NOT NULL COLLATE "C",
    executed_at timestamptz NOT NULL,
    settles_at  timestamptz NOT NULL,
    price_nano  bigint      NOT NULL CHECK (price_nano >= 0),
    quantity    bigint      NOT NULL CHECK (quantity >= 1),
    fills       bigint[]    NOT NULL,
    PRIMARY KEY (id, executed_at)
) PARTITION BY RANGE (executed_at);
CREATE INDEX IF NOT EXISTS trades_symbol ON trades (symbol, executed_at);
-- The consumer creates a partition for each day, and drops days that are older than its consumer.retention_days.
SELECT partition_by_day('trades');
-- With roles of their own (db/roles.sql): GRANT SELECT, INSERT ON trades TO <consumer>; GRANT SELECT ON trades TO <reader>;
