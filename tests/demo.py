"""The demo in a fresh copy of the project, as the tests start it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from local.ports import find_free_port
from tests.documents import ROOT

# Demos that start at the same moment would choose the same ports for their metrics.
NO_METRICS = {"HEARTBEAT_PRODUCER__METRICS_PORT": "0", "HEARTBEAT_CONSUMER__METRICS_PORT": "0"}
PARTS = ("common", "config.yml", "consumer", "contracts", "db", "demo", "local", "producer", "store", ".env")


class Demo:
    """One run of the demo, in a session of its own as a terminal's would be."""

    def __init__(self, folder: Path, output: int, **environment: str) -> None:
        self.folder = folder
        # Their own: a producer that outlives its broker for a moment would send to the next demo's at the same port.
        ports = {name: str(find_free_port()) for name in ("KAFKA_PORT", "POSTGRESQL_PORT")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demo"],
            cwd=folder,
            env={**os.environ, **NO_METRICS, **ports, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Signal the whole foreground group, as a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def running(self) -> list[psutil.Process]:
        """Return every process that works in the copy or on its data."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def find(self, words: str) -> psutil.Process | None:
        """Return the service or server whose command has these words."""
        for process in self.running():
            with contextlib.suppress(psutil.Error):  # it has ended since
                command = " ".join(process.cmdline())
                if words in command and "supervisor" not in command:
                    return process
        return None

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return str(self.folder) in " ".join([process.cwd(), *process.cmdline()])
        return False


def copy_project(tmp_path: Path) -> Path:
    """Copy the project, with no data, and with the jars that are here already."""
    copy = tmp_path / "copy"
    for part in PARTS:
        place = copy / part
        place.parent.mkdir(exist_ok=True)
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, place)
    (ROOT / ".local" / "jars").mkdir(parents=True, exist_ok=True)
    (copy / ".local").mkdir()
    (copy / ".local" / "jars").symlink_to(ROOT / ".local" / "jars")
    return copy
