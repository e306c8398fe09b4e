"""The contracts of events: what a message must hold, and into which columns its values go."""
