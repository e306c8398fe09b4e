"""Waiting for a condition, with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], within_s: float = 30.0, what: str = "", every_s: float = 0.05) -> T:
    """
    Wait until the condition returns something true, and return it.

    Args:
        condition: Called at least once, then every `every_s` seconds.
        within_s: How long to wait at most.
        what: What is waited for, for the error.
        every_s: Seconds from one call's end to the next call.
    Raises:
        TimeoutError: It was not true within `within_s` seconds.
    """
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s:g} s: {what or condition}")
        time.sleep(every_s)
    return found
