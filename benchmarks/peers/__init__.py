"""Other systems on the same topic, table and servers: what they cost, how fast they are, what a bad message does."""
