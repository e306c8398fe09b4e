-- The quarantine is bounded in bytes: its space must be free again soon.
CREATE TABLE IF NOT EXISTS rejected_turn ();
ALTER TABLE rejected_heartbeats SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0,
    toast.autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_cost_delay = 0);
