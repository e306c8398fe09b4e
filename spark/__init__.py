"""The second engine: the same topic, tables and guarantees, on Spark Structured Streaming."""
