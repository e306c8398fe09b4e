"""A real Apache Kafka and a real PostgreSQL as child processes, without Docker, and the demo that runs on them."""
