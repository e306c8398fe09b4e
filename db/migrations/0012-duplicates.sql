-- Events that their table already had; offsets passed = stored + rejected + skipped + expired + duplicates.
ALTER TABLE kafka_ledger
    ADD COLUMN duplicates bigint NOT NULL DEFAULT 0 CHECK (duplicates >= 0),
    DROP CONSTRAINT books_balance,
    ADD CONSTRAINT books_balance
        CHECK (next_offset - start_offset = stored + rejected + skipped + expired + duplicates);
