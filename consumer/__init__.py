"""The plain engine: moves messages from Kafka into PostgreSQL and stores each exactly once."""
