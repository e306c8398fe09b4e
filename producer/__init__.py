"""A thousand synthetic customers whose heart rates go to Kafka."""
