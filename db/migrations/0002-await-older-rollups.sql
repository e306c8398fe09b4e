-- An older refresh_rollups() begins with the notes: when these can be locked, none is under way. This is a transaction
-- of its own, so that storing does not wait while 0007 fills a table.
DO $$
BEGIN
    IF to_regclass('heartbeats_touched') IS NOT NULL THEN
        LOCK TABLE heartbeats_touched IN SHARE ROW EXCLUSIVE MODE;
    END IF;
END
$$;
