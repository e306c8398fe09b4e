"""From bytes to rows, for any engine: validation, the tables and the ledger, and the proof of it."""
