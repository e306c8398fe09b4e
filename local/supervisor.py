"""
Run one command, and make sure that nothing of it outlives the process that started it.

A program of its own, never imported: `child.py` starts it in its own session, so Ctrl-C in a terminal
reaches only the parent. Its stdin is a pipe whose other end only the parent holds: however the parent ends,
SIGKILL included, the kernel closes that end, and this process takes the command down. While the parent lives,
it sends lines `SIGNAL GRACE_S`: pass this signal on, and SIGKILL when the command is still there after so many seconds.

Ends with the command's exit code, or 128 + the signal that ended it, once no descendant is left.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

LINUX: Final = sys.platform == "linux"
PR_SET_PDEATHSIG: Final = 1  # Source: prctl(2)
PR_SET_CHILD_SUBREAPER: Final = 36
LOOK_S: Final = 1.0  # how often to look whether the parent is another: a forked copy of it may hold the pipe open
ORPHANS_S: Final = 3.0  # PostgreSQL's backends leave by themselves when their postmaster is gone; longer is stuck


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process, on Linux; a kernel that refuses leaves us with the pipe alone."""
    if LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


class Supervisor:
    """The command, and when it is to be killed."""

    def __init__(self, parent_pid: int, stop: bytes, command: list[str], keep_fds: list[int]) -> None:
        self._parent_pid = parent_pid
        self._stop = stop
        self._parent_alive = True
        self._kill_at: float | None = None
        self._wake, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # to be woken by it
        signal.signal(signal.SIGTERM, lambda *_: None)
        for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(ignored, signal.SIG_IGN)
        prctl(PR_SET_CHILD_SUBREAPER, 1)  # the command's orphans become ours, to be waited for
        own_pid = os.getpid()

        def in_child() -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # if this process is killed, so is the command
            if os.getppid() != own_pid:  # it was killed before that line
                os._exit(1)

        self._process = subprocess.Popen(  # noqa: S603 - the parent's own command
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=keep_fds,
            preexec_fn=in_child,  # noqa: PLW1509 - no threads here
        )

    @property
    def pid(self) -> int:
        """The command's process id."""
        return self._process.pid

    def run(self) -> int:
        """Wait for the command's end, passing on what the parent asks for; return its exit code."""
        while self._process.poll() is None:
            self._listen()
            if self._kill_at is not None and time.monotonic() >= self._kill_at:
                self._process.kill()
        reap_orphans(ORPHANS_S)
        code = self._process.returncode
        return 128 - code if code < 0 else code

    def _listen(self) -> None:
        timeout_s = LOOK_S if self._kill_at is None else max(0.01, self._kill_at - time.monotonic())
        watched = [self._wake, sys.stdin.fileno()] if self._parent_alive else [self._wake]
        ready, _, _ = select.select(watched, [], [], min(timeout_s, LOOK_S))
        if self._wake in ready and signal.SIGTERM in os.read(self._wake, 4096):
            self._pass_on(self._stop)
        if not self._parent_alive:
            return
        asked = os.read(sys.stdin.fileno(), 4096) if sys.stdin.fileno() in ready else None
        if asked == b"" or os.getppid() != self._parent_pid:
            self._parent_alive = False
            if self._kill_at is None:
                self._pass_on(self._stop)
            else:  # being stopped already: a second signal could cut a clean stop short
                self._kill_at = min(self._kill_at, time.monotonic() + float(self._stop.split()[1]))
        elif asked:
            self._pass_on(asked.splitlines()[-1])

    def _pass_on(self, line: bytes) -> None:
        number, grace_s = line.split()
        self._kill_at = time.monotonic() + float(grace_s)
        self._process.send_signal(int(number))


def reap_orphans(patience_s: float) -> None:
    """Wait until no descendant is left, helping with SIGKILL after `patience_s` seconds."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            time.sleep(0.01)
            if time.monotonic() > deadline:
                for child in children(os.getpid()):
                    os.kill(child, signal.SIGKILL)


def children(parent_pid: int) -> list[int]:
    """Return the process ids of a process's children (Linux only; elsewhere orphans are never ours)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        if int(after_name[1]) == parent_pid:
            found.append(int(stat.parent.name))
    return found


def main() -> NoReturn:
    """Read `PARENT_PID STOP_SIGNAL GRACE_S REPORT_FD KEEP_FD,... -- COMMAND...` and run it."""
    parent_pid, stop_signal, grace_s, report_fd, keep_fds, _, *command = sys.argv[1:]
    kept = [int(fd) for fd in keep_fds.split(",") if fd]
    try:
        supervisor = Supervisor(int(parent_pid), f"{stop_signal} {grace_s}".encode(), command, kept)
    except OSError as error:
        answer(int(report_fd), f"cannot run {command[0]}: {error.strerror}")
        sys.exit(127)
    answer(int(report_fd), str(supervisor.pid))
    sys.exit(supervisor.run())


def answer(report_fd: int, text: str) -> None:
    """Write to the parent, if it still runs, the command's process id, or why there is none."""
    with contextlib.suppress(BrokenPipeError):
        os.write(report_fd, text.encode())
    os.close(report_fd)


if __name__ == "__main__":
    main()
