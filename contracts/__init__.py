"""The events as declarations: what a message must hold, and into which columns it goes."""
