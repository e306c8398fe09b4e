"""Sends the heart rates of synthetic customers to Kafka."""
