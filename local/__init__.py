"""A real Apache Kafka and a real PostgreSQL as child processes, without Docker."""
