"""Two time stamps, 8-byte numbers and an array."""
