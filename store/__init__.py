"""From bytes to rows, for any engine: validation, the tables, the ledger and its check."""
