-- Not only heartbeats can have daily partitions and retention.
CREATE TABLE daily_tables (
    table_name text PRIMARY KEY COLLATE "C" CHECK (table_name ~ '^[a-z_][a-z0-9_]{0,39}$')
);
INSERT INTO daily_tables VALUES ('heartbeats');
