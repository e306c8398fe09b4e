-- Offsets that `python -m consumer reread` has read again. Each is counted once more in what it became:
-- offsets passed + read again = stored + rejected + skipped + expired + duplicates.
ALTER TABLE kafka_ledger
    ADD COLUMN reread bigint NOT NULL DEFAULT 0 CHECK (reread >= 0),
    DROP CONSTRAINT books_balance,
    ADD CONSTRAINT books_balance
        CHECK (next_offset - start_offset + reread = stored + rejected + skipped + expired + duplicates);
