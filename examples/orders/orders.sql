-- The table of contract.py. Apply it as the owner of the tables, after db/schema.sql (and db/roles.sql, if used). It can be
-- applied again: it keeps an existing table as it is.
CREATE TABLE IF NOT EXISTS orders (
    id          bigint      PRIMARY KEY,  -- the event's position in Kafka, see kafka_place()
    order_id    varchar     NOT NULL COLLATE "C",
    ordered_at  timestamptz NOT NULL,
    lines       jsonb       NOT NULL,
    total_cents bigint      NOT NULL CHECK (total_cents >= 0),
    more        jsonb       NOT NULL      -- all other fields of the event
);
-- An order that is sent again is not stored again: the contract's `unique` needs this index.
CREATE UNIQUE INDEX IF NOT EXISTS orders_order_id ON orders (order_id);
-- With roles of their own (db/roles.sql): GRANT SELECT, INSERT ON orders TO <consumer>; GRANT SELECT ON orders TO <reader>;
-- The consumer needs a temporary table, too: GRANT TEMPORARY ON DATABASE <database> TO <consumer>; again after db/roles.sql.
