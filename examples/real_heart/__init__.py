"""A real heart: a chest strap, or a recorded file, as the same event as the generator's."""
