-- The ledger knows the last record of each partition. ALTER TABLE waits for readers, even if there is nothing to add.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'kafka_ledger'::regclass AND attname = 'last_fingerprint') THEN
        ALTER TABLE kafka_ledger ADD COLUMN IF NOT EXISTS last_offset bigint, ADD COLUMN last_fingerprint bigint;
    END IF;
END
$$;
