-- The table of contract.py. Apply it as the owner of the tables, after db/schema.sql (and db/roles.sql, if used). It can be
-- applied again: it keeps an existing table as it is.
CREATE TABLE IF NOT EXISTS oxygen (
    id          bigint           PRIMARY KEY,  -- the event's position in Kafka, see kafka_place()
    person      varchar          NOT NULL COLLATE "C",
    measured_at timestamptz      NOT NULL,
    percent     double precision NOT NULL CHECK (percent BETWEEN 0 AND 100),
    site        text             NOT NULL CHECK (site IN ('finger', 'ear', 'forehead')),
    pulse_bpm   smallint         CHECK (pulse_bpm BETWEEN 1 AND 300)
);
CREATE INDEX IF NOT EXISTS oxygen_person ON oxygen (person, measured_at);
-- With roles of their own (db/roles.sql): GRANT SELECT, INSERT ON oxygen TO <consumer>; GRANT SELECT ON oxygen TO <reader>;
