"""Ports and data folders of the local servers: never two servers on one."""

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from local.data_folder import locked
from local.errors import LocalServerError
from local.ports import ANY, HOST, find_free_port, is_free


def test_preferred_port_is_given_when_it_is_free() -> None:
    """People's habits point at 9094 and 5434."""
    port = find_free_port()

    assert find_free_port(port) == port


def test_taken_port_gives_way_to_a_free_one() -> None:
    """A compose stack on the usual ports does not stop the demo."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert not is_free(port)
        assert find_free_port(port) in ANY


def test_two_processes_looking_at_once_hardly_ever_find_the_same() -> None:
    """Two test sessions start on one machine at the same time."""
    assert len({find_free_port() for _ in range(20)}) > 15


def test_folder_in_use_is_refused_after_a_while(tmp_path: Path) -> None:
    """Two brokers on the same log would destroy it."""
    with (
        locked(tmp_path / "folder"),
        pytest.raises(LocalServerError, match="another process uses it"),
        locked(tmp_path / "folder", patience_s=0.1),
    ):
        pass


def test_folder_stays_in_use_until_the_last_heir_of_its_lock_has_ended(tmp_path: Path) -> None:
    """Backends outlive a killed postmaster by a moment; until then its folder is not free."""
    with locked(tmp_path) as lock:
        heir = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[lock])

    with pytest.raises(LocalServerError), locked(tmp_path, patience_s=0.1):
        pass
    heir.communicate(b"\n")
    with locked(tmp_path, patience_s=0.1):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_one_line_and_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Some network drives have none; two servers on one folder would destroy it."""

    def refuse(*_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)

    expected = rf"^cannot lock the folder .*: {os.strerror(number)}\nHINT: .* local disk"
    with pytest.raises(LocalServerError, match=expected), locked(tmp_path):
        pass


def test_folder_that_cannot_be_made_is_an_error_with_a_hint(tmp_path: Path) -> None:
    """The person reads which folder it was."""
    (tmp_path / "file").write_text("")

    with pytest.raises(LocalServerError, match=r"cannot use the folder .*file/folder: Not a directory\nHINT: "):  # noqa: SIM117
        with locked(tmp_path / "file" / "folder"):
            pass
