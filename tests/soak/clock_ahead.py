"""`python -m tests.soak.clock_ahead`: a consumer on a machine whose clock is 30 days ahead."""

import sys
import time

import consumer.__main__

AHEAD_S = 30 * 86_400


def main() -> int:
    """Run the consumer with a clock that is wrong wherever Python asks for the time of day."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + AHEAD_S
    time.time_ns = lambda: right_ns() + AHEAD_S * 10**9
    return consumer.__main__.main([])


if __name__ == "__main__":
    sys.exit(main())
