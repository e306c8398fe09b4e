-- The reason of a quarantined message is one word; what PostgreSQL said stands beside it.
ALTER TABLE rejected_heartbeats ADD COLUMN detail text;
