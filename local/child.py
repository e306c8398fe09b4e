"""A child process that cannot outlive us: the parent's side of `supervisor.py`."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from local.errors import LocalServerError

SUPERVISOR: Final = Path(__file__).with_name("supervisor.py")


class Child:
    """
    One running command; ends at the latest when this process ends, however that happens.

    Args:
        command: Program and arguments; the program is an absolute path.
        output: Where its stdout and stderr go: a file, or a pipe's descriptor.
        stop_signal: What to send when this process is gone.
        grace_s: Seconds from then to SIGKILL; a broker told to stop while it starts may hang.
        keep_fds: Descriptors that the command inherits, such as a lock.
        cwd: Its working folder.
        env: Its whole environment; None: ours.
    Raises:
        LocalServerError: The command cannot be run at all.
    """

    def __init__(  # noqa: PLR0913 - a process has this many properties; by keyword
        self,
        command: Sequence[str | Path],
        *,
        output: IO[bytes] | int,
        stop_signal: signal.Signals = signal.SIGTERM,
        grace_s: float = 5.0,
        keep_fds: Sequence[int] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        report, reporter = os.pipe()
        arguments = [os.getpid(), stop_signal.value, grace_s, reporter, ",".join(map(str, keep_fds)), "--", *command]
        # Isolated (-I) and without site-packages (-S): it needs neither, and starts in 15 ms.
        supervisor = [sys.executable, "-I", "-S", str(SUPERVISOR), *map(str, arguments)]
        with os.fdopen(report) as reported:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    supervisor,
                    stdin=subprocess.PIPE,  # never inherited by another child: it must close when we end
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=[reporter, *keep_fds],
                    cwd=cwd,
                    env=env,
                )
            finally:
                os.close(reporter)
            try:
                answer = reported.read()
            except BaseException:  # Ctrl-C: no one can hold this object
                self.close()
                raise
        if not answer.isdigit():
            self.wait()
            raise LocalServerError(
                answer or "cannot run the supervisor of a child process",
                hint="See that the program named exists, is executable and fits this machine's processor.",
            )
        self.pid = int(answer)

    def poll(self) -> int | None:
        """Return the exit code (128 + N: ended by signal N), or None while anything of the command runs."""
        code = self._process.poll()
        if code is not None:
            self.close()
        return code

    def wait(self, timeout_s: float | None = None) -> int:
        """
        Wait for the end.

        Raises:
            TimeoutError: It still runs after `timeout_s` seconds.
        """
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"process {self.pid} still runs after {timeout_s} s") from error
        self.close()
        return code

    def stop(self, number: signal.Signals = signal.SIGTERM, *, grace_s: float = 10.0) -> int:
        """Send a signal, SIGKILL after `grace_s` seconds, wait until nothing of it is left; return the exit code."""
        self.send(number, grace_s=grace_s)
        return self.wait()

    def kill(self) -> None:
        """Send SIGKILL without waiting; nothing if the command has ended."""
        self.send(signal.SIGKILL, grace_s=0)

    def send(self, number: signal.Signals, *, grace_s: float = 10.0) -> None:
        """Send a signal, SIGKILL after `grace_s` seconds, without waiting; nothing if the command has ended."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        try:
            os.write(self._process.stdin.fileno(), f"{number.value} {grace_s}\n".encode())
        except (BrokenPipeError, ValueError):  # ended; or closed already
            return

    def close(self) -> None:
        """Close the pipe: a command that still runs is stopped, as if this process had ended."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker
        self._process.stdin.close()
