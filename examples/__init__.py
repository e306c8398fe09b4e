"""Other events than heartbeats: each a contract, its table, and a producer of a few lines."""
