"""A text key, nested JSON, events that are sent again, and unknown fields that are kept."""
