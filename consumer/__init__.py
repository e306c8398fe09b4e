"""From Kafka into PostgreSQL, every message exactly once."""
