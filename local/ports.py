"""Free TCP ports on loopback."""

import random
import socket
from typing import Final

HOST: Final = "127.0.0.1"
# Below the ports that Linux (32768 up) and macOS (49152 up) hand to outgoing connections: a client that connects to a
# stopped server's port from there can end up connected to itself, and then the server cannot have its port back.
ANY: Final = range(20_000, 30_000)


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def find_free_port(preferred: int | None = None) -> int:
    """
    Return the preferred port if it is free, else any free one.

    Raises:
        OSError: No port of `ANY` is free.
    """
    if preferred is not None and is_free(preferred):
        return preferred
    for port in random.sample(ANY, len(ANY)):  # random: two processes that look at once must not both take the first
        if is_free(port):
            return port
    raise OSError(f"no free port in {ANY.start}..{ANY.stop - 1}")
