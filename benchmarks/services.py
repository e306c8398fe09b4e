"""Our services as processes of this machine, and what they cost."""

import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import psutil

ROOT: Final = Path(__file__).resolve().parent.parent


class Service:
    """The producer or a consumer as a process of its own."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", name], cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT
            )

    def events(self, name: str) -> list[dict[str, Any]]:
        """Give what it logged under this name."""
        lines = [line for line in self.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def cpu_s(self) -> float:
        """Give the CPU seconds it has used so far."""
        return cpu_of(self.process.pid)

    def memory_mb(self) -> float:
        """Give the memory of its processes now, what they share counted once (PSS)."""
        root, total = psutil.Process(self.process.pid), 0.0
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
        return total / 1e6

    def check(self) -> None:
        """See that it runs."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.log.stem} ended by itself:\n{self.log.read_text(encoding='utf-8')[-3000:]}")

    def stop(self) -> None:
        """End it as a person would."""
        self.process.terminate()
        self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def cpu_of(pid: int) -> float:
    """Give the CPU seconds of a process and all its children, ended ones included."""
    total = 0.0
    for process in [(root := psutil.Process(pid)), *root.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            used = process.cpu_times()
            total += used.user + used.system + used.children_user + used.children_system
    return total
