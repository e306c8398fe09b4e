"""What processes cost: CPU time and memory."""

import time
from collections.abc import Sequence
from contextlib import suppress

import psutil

from local.service import Service


def cpu_s(*pids: int) -> float:
    """Return the CPU seconds of processes and all their children, ended ones included."""
    total = 0.0
    for process in _with_children(pids):
        with suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            total += used.user + used.system + used.children_user + used.children_system
    return total


def memory_mb(pid: int) -> float:
    """Return the memory of a process and its children now, what they share counted once (PSS)."""
    total = 0.0
    for process in _with_children([pid]):
        with suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return total / 1e6


class PeakMemory:
    """The most memory that one of the services had, in MB, as far as it was looked at."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._looked_at = 0.0
        self.mb = 0.0

    def look(self) -> None:
        """Look if a second has passed; it takes milliseconds of a core."""
        if time.monotonic() > self._looked_at + 1:
            self.mb = max(self.mb, *(memory_mb(service.process.pid) for service in self._services))
            self._looked_at = time.monotonic()


def _with_children(pids: Sequence[int]) -> list[psutil.Process]:
    roots = [psutil.Process(pid) for pid in pids]
    return roots + [child for root in roots for child in root.children(recursive=True)]
