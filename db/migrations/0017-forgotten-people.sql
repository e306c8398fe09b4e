-- Erased rows and messages. Each offset that was passed or read again is counted in what it became:
-- offsets passed + read again = stored + rejected + skipped + expired + duplicates + erased.
ALTER TABLE kafka_ledger
    ADD COLUMN erased bigint NOT NULL DEFAULT 0 CHECK (erased >= 0),
    ADD COLUMN forgotten_version bigint NOT NULL DEFAULT 0,
    DROP CONSTRAINT books_balance,
    ADD CONSTRAINT books_balance
        CHECK (next_offset - start_offset + reread = stored + rejected + skipped + expired + duplicates + erased);
CREATE TABLE forgotten (
    generation     smallint    NOT NULL,
    hash           bytea       NOT NULL CHECK (octet_length(hash) = 32),
    before_offsets bigint[]    NOT NULL,
    forgotten_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (generation, hash)
);
