"""A checkout works on another machine: line ends, and one word about Python's versions everywhere."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
FOUND: Final = re.search(r"^VERSIONS := (.*)$", MAKEFILE, re.MULTILINE)
VERSIONS: Final = sorted(int(version.removeprefix("3.")) for version in FOUND[1].split()) if FOUND else []


def make(folder: Path, version: str) -> list[str]:
    """Return what `make` says where the only Python has this version."""
    shutil.copy(ROOT / "Makefile", folder)
    python = folder / "python3"
    python.write_text(f"#!/bin/sh\n[ '{version}' ] && echo '{version}'\n")
    python.chmod(0o755)
    command = ["make", "--no-print-directory", ".venv/.made", f"PYTHON={python}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr.splitlines()


def test_versions_are_the_same_everywhere() -> None:
    """A version that one of them forgets is one that a person tries in vain."""
    first, last = VERSIONS[0], VERSIONS[-1]
    words = f"Python 3.{first} to 3.{last}"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert list(range(first, last + 1)) == VERSIONS
    assert project["requires-python"] == f">=3.{first},<3.{last + 1}"
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert words in text, name
        assert re.findall(rf"Python 3\.{first}(?! to 3\.{last}\b).{{0,12}}", text) == [], name


def test_images_have_a_version_that_is_supported() -> None:
    for name in ("consumer", "producer", "spark"):
        text = (ROOT / f"Dockerfile.{name}").read_text(encoding="utf-8")
        versions = set(re.findall(r"^FROM python:3\.(\d+)", text, re.MULTILINE))
        assert len(versions) == 1, name
        assert int(versions.pop()) in VERSIONS, name


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("version", "found"), [("3.99", r" .*/python3 \(3\.99\)"), ("3.9", r".*3\.9\)"), ("", " none")]
)
def test_another_python_is_named_with_a_hint(tmp_path: Path, version: str, found: str) -> None:
    """The person has a Python, and is not told that there is none."""
    cannot, hint, *_ = make(tmp_path, version)

    assert re.match(rf"cannot find Python in one of the versions 3\.11 .*: found{found}, tried ", cannot)
    assert hint.startswith("HINT: Install one of them")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_checkout_on_windows_has_line_ends_that_linux_reads(tmp_path: Path) -> None:
    """Git for Windows makes them CRLF unless told otherwise; in WSL or an image a script then fails at once."""
    for name in (".gitattributes", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "core.autocrlf=true", "-c", "user.name=test", "-c", "user.email=test"]

    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "test"], ["rm", "-q", "-r", "--cached", "."]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    (tmp_path / "Makefile").unlink()
    subprocess.run([*git, "reset", "-q", "--hard"], check=True, capture_output=True)

    assert b"\r" not in (tmp_path / "Makefile").read_bytes()
