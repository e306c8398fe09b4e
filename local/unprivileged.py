"""
Enter a folder as root, become an ordinary user, then turn into the command: PostgreSQL refuses to run as root.

A program of its own, imported by nothing: `python unprivileged.py UID GID FOLDER INPUT COMMAND...`. The command gets
INPUT as its stdin. The process id stays. The command has no capability and can gain none. It reaches the folder as
`/proc/self/cwd` even where it may not enter the folders above.
"""

import ctypes
import os
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1  # Source: prctl(2)
PR_SET_NO_NEW_PRIVS: Final = 38


def main() -> None:
    """Enter the folder, give up root's rights, and become the command."""
    uid, gid, folder, stdin, *command = sys.argv[1:]
    supervisor = os.getppid()
    try:
        os.chdir(folder)
        os.dup2(os.open(stdin, os.O_RDONLY), 0)
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))  # clears every capability, too
        if sys.platform == "linux":
            libc = ctypes.CDLL(None)
            libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # changing the user has cleared it
            if os.getppid() != supervisor:
                sys.exit(1)
        os.execv(command[0], command)  # noqa: S606 - a program, no shell
    except OSError as error:
        sys.exit(f"cannot run {command[0]} as user {uid}: {error.strerror}")


if __name__ == "__main__":
    main()
