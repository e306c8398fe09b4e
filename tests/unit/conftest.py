"""What tests without a server share."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.running import TIMES_S


@pytest.fixture
def bare_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty folder, without variables: no .env of this repository or of this machine is read."""
    monkeypatch.chdir(tmp_path)
    for name in [*os.environ]:
        if name.upper().startswith(("HEARTBEAT_", "POSTGRESQL_")):
            monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def config(bare_folder: Path) -> Callable[[str], Path]:
    """Return a function that writes a settings file."""

    def write(text: str) -> Path:
        path = bare_folder / "settings.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def quick_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the consumer's loop wait a hundredth of its times."""
    for name, seconds in TIMES_S.items():
        monkeypatch.setattr(name, seconds)
