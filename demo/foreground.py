"""
Run a command as the terminal's foreground job, so that Ctrl-C reaches it alone and its own exit code counts.

`make` dies of every Ctrl-C that reaches it, whatever its recipe answers; shells keep jobs apart the same way.
Only the standard library, for it runs while packages are being installed.
"""

import contextlib
import os
import signal
import subprocess
import sys
from typing import Final

INTERRUPTED: Final = (-signal.SIGINT, 128 + signal.SIGINT)  # ended by Ctrl-C: itself, or as a shell reports it


def main(command: list[str]) -> int:
    """
    Run the command to its end; without a terminal in front of us, become it.

    Returns:
        The command's exit code; 0 when Ctrl-C ended it; 128 + the signal when another one did.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
        in_front = os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:  # no terminal
        in_front = False
    if not in_front:
        os.execvp(command[0], command)  # noqa: S606 - the Makefile's own command

    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # taking the terminal back would stop us
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # inherited: a job stopped by Ctrl-Z could not be continued
    job = subprocess.Popen(command, process_group=0)  # noqa: S603 - the Makefile's own command
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda passed_on, _: _send(job.pid, passed_on))
    _put_in_front(terminal, job.pid)
    code = job.wait()
    _put_in_front(terminal, os.getpgrp())

    if code in INTERRUPTED:
        return 0
    return code if code >= 0 else 128 - code


def _put_in_front(terminal: int, group: int) -> None:
    with contextlib.suppress(OSError):  # the job has ended already, or the terminal is gone
        os.tcsetpgrp(terminal, group)


def _send(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
