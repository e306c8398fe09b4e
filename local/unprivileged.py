"""
Become an ordinary user, then turn into the command: PostgreSQL refuses to run as root.

A program of its own, not imported by anybody: `python unprivileged.py UID GID COMMAND...`. The process id stays.

The project may lie under /root, which nobody else may enter. The wheel's own helper adds a system user and opens
every folder on the way to everybody; here the command keeps one right of root's instead, to pass by the permissions of
files (CAP_DAC_OVERRIDE, as an ambient capability), and no file outside its data folder is touched. Where that right
cannot be kept (not Linux, or a container without it), it must do with its user's own.

Source: capabilities(7), prctl(2), capset(2).
"""

import contextlib
import ctypes
import os
import signal
import struct
import sys
from typing import Final

CAP_DAC_OVERRIDE: Final = 1
CAPABILITY_VERSION_3: Final = 0x20080522
PR_SET_PDEATHSIG: Final = 1
PR_SET_KEEPCAPS: Final = 8
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_RAISE: Final = 2


def drop_to(uid: int, gid: int) -> None:
    """Give up root's rights, all but the one to pass by file permissions, on Linux."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if sys.platform == "linux":
        kept = 1 << CAP_DAC_OVERRIDE
        header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
        sets = struct.pack("=6I", kept, kept, kept, 0, 0, 0)  # effective, permitted, inheritable; low and high words
        if libc.capset(header, sets) == 0:
            libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def main() -> None:
    """Drop, and become the command."""
    uid, gid, *command = sys.argv[1:]
    supervisor = os.getppid()
    drop_to(int(uid), int(gid))
    if sys.platform == "linux":  # changing the user has cleared it
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != supervisor:
            sys.exit(1)
    with contextlib.suppress(OSError):
        os.chdir("/")
    os.execv(command[0], command)  # noqa: S606 - a program, no shell


if __name__ == "__main__":
    main()
