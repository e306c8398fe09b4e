"""One server at a time on a data folder, across processes, until the last of the server's own processes is gone."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from local.errors import LocalServerError

PATIENCE_S: Final = 30.0  # a server whose parent was killed needs a few seconds to stop


@contextlib.contextmanager
def locked(folder: Path, *, patience_s: float = PATIENCE_S) -> Iterator[int]:
    """
    Make the folder if needed and hold its lock.

    The lock belongs to the open file, not to a process: a child that inherits the descriptor keeps it locked, and so do
    the child's children, until the last of them has ended. So a folder that can be locked is not in use.

    Yields:
        The descriptor to let children inherit.
    Raises:
        LocalServerError: It is still in use after `patience_s` seconds, or cannot be made, written or locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise LocalServerError(
            f"cannot use the folder {folder}: {error.strerror}",
            hint="Free some space there, or make it writable for you.",
        ) from error
    try:
        _acquire(lock, folder, time.monotonic() + patience_s)
        yield lock
    finally:
        os.close(lock)  # no LOCK_UN: that would unlock it for the children, too


def _acquire(lock: int, folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise LocalServerError(
                    f"cannot use the folder {folder}: another process uses it",
                    hint="Stop the demo or the tests that run there, or wait for them.",
                ) from None
            time.sleep(0.05)
        except OSError as error:
            raise LocalServerError(
                f"cannot lock the folder {folder}: {error.strerror}",
                hint="That file system has no locks (a network drive, for example): move the project to a local disk.",
            ) from error
        else:
            return
