"""
Jars: those of Kafka's broker and of Spark's Kafka connector, fetched once, checked, kept in a folder.

`kafka_jars.txt` and `spark_jars.txt` pin each by coordinates and SHA-256, so nothing is resolved at run time and
nothing unknown is run.
jgo knows where Maven's repositories are and fetches; what it offers above that is not used: `jgo.build` trusts a
half-written file for ever, only warns about a wrong checksum, and may fetch a second Java to sort jars into folders.
"""

import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import requests

from local.data_folder import locked
from local.errors import LocalServerError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

PINS: Final = Path(__file__).with_name("kafka_jars.txt")
ATTEMPTS: Final = 3  # per jar: a repository's front end drops a connection now and then
TIMEOUT_S: Final = 30  # for one answer of the repository
PATIENCE_S: Final = 900.0  # while another process fetches

log = logging.getLogger(__name__)


def read_pins(pins: Path | None = None) -> dict[str, str]:
    """Return the SHA-256 of each coordinate `group:artifact:version`; None: of Kafka's."""
    text = (pins or PINS).read_text(encoding="utf-8")
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {coordinate: sha256 for coordinate, sha256 in lines}  # noqa: C416 - checks that each line has two words


def file_name(coordinate: str) -> str:
    """Return a jar's own name, `artifact-version.jar`."""
    _, artifact, version = coordinate.split(":")
    return f"{artifact}-{version}.jar"


def ensure(folder: Path, pinned: Path | None = None) -> list[Path]:
    """
    Return all jars in `folder`, fetching those that are missing; safe for several processes and after an interruption.

    A jar gets its name there only when it is whole and its checksum is right.

    Args:
        folder: Where they are kept.
        pinned: The file that names them; None: Kafka's.
    Returns:
        Their paths, sorted: a class path must not change from run to run, or prepared class data is void.
    Raises:
        LocalServerError: There is no network, no space, or a jar is not the one pinned.
    """
    pins = read_pins(pinned)
    wanted = sorted(folder / file_name(coordinate) for coordinate in pins)
    if not all(path.exists() for path in wanted):
        with locked(folder, patience_s=PATIENCE_S):
            for number, (coordinate, sha256) in enumerate(pins.items(), 1):
                if not (folder / file_name(coordinate)).exists():
                    log.info("fetching jar %d of %d, %s", number, len(pins), file_name(coordinate))
                    _fetch(coordinate, sha256, folder)
    return wanted


def _fetch(coordinate: str, sha256: str, folder: Path) -> None:
    for left_over in folder.glob("part-*"):  # of a process that was killed; we hold the lock
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="part-") as part:
            found = _download(coordinate, Path(part))
            with found.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
                os.fsync(file.fileno())
            if digest != sha256:
                raise LocalServerError(
                    f"cannot use {file_name(coordinate)}: its SHA-256 is {digest}, expected {sha256}",
                    hint="Something between here and the Maven repository changes files; try another network.",
                )
            found.replace(folder / found.name)
    except requests.RequestException as error:
        raise LocalServerError(
            f"cannot fetch {file_name(coordinate)}: {type(error).__name__}",
            hint="A Maven repository must be within reach at the first start; check the network and HTTPS_PROXY, "
            "or name a mirror in jgo's settings. What is already here is kept.",
        ) from error
    except OSError as error:
        raise LocalServerError(
            f"cannot keep {file_name(coordinate)} in {folder}: {error.strerror}",
            hint="The jars need 45 MB there; free some space, or make the folder writable for you.",
        ) from error
    except RuntimeError as error:  # jgo's word for 404
        raise LocalServerError(
            f"cannot fetch {file_name(coordinate)}: no Maven repository has it",
            hint="If jgo's settings name a mirror, see that it serves Maven Central.",
        ) from error


def _download(coordinate: str, folder: Path) -> Path:
    group, artifact, version = coordinate.split(":")

    def attempt(number: int) -> Path:
        # A folder each: a broken attempt leaves half a file, which jgo would take for whole.
        return maven(folder / str(number)).project(group, artifact).at_version(version).artifact().resolve()

    for number in range(1, ATTEMPTS):
        try:
            return attempt(number)
        except requests.RequestException as error:
            log.info("fetching %s again: %s", file_name(coordinate), type(error).__name__)
    return attempt(ATTEMPTS)


def maven(repository: Path) -> "MavenContext":
    """Return access to Maven's repositories, mirrors of jgo's settings first; jars are stored in `repository`."""
    # Imported late: a third of a second, for what is needed once.
    from jgo.config import GlobalSettings  # noqa: PLC0415
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    mirrors = GlobalSettings.load().repositories
    remotes = {**mirrors, "central": MAVEN_CENTRAL_URL}
    return MavenContext(repo_cache=repository, remote_repos=remotes, timeout=TIMEOUT_S)
