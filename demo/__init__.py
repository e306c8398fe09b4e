"""`python -m demo`: the whole pipeline on this machine, without Docker, as a person watches it."""
