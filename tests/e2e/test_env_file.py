"""docker compose reads `.env` as the services do. Nothing is started."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from common.errors import ConfigError
from common.settings_environment import read_environment
from tests.dotenv_values import ALIKE
from tests.e2e.stack import docker

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("engine")]

SIGNS: Final = [*"ab$'\"\\ #{}=`:!%~\t\u00a0é", "ab", "\\n", " #"]


def compose_reads(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return what compose hands on to a container from the folder's `.env`."""
    wanted = "".join(f"      {name}: ${{{name}}}\n" for name in names)
    (folder / "compose.yml").write_text(f"services:\n  one:\n    image: none\n    environment:\n{wanted}")
    text = docker("compose", "--project-directory", str(folder), "-f", str(folder / "compose.yml"), "config",
                  "--format", "json")  # fmt: skip
    found = json.loads(text)["services"]["one"]["environment"]
    return {name: value.replace("$$", "$") for name, value in found.items()}


def test_values_mean_the_same_to_compose(tmp_path: Path) -> None:
    """The table that tests/unit/test_settings_env_file.py holds against the services."""
    names = {f"HEARTBEAT_{number}": written for number, written in enumerate(ALIKE)}
    (tmp_path / ".env").write_text("".join(f"{name}={written}\n" for name, written in names.items()), encoding="utf-8")

    assert compose_reads(tmp_path, names) == {name: ALIKE[written] for name, written in names.items()}


def test_any_value_means_the_same_to_both_or_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not all values can be listed: these are random, of characters that have a meaning to either reader."""
    monkeypatch.chdir(tmp_path)
    draw, file, kept = random.Random(5), tmp_path / ".env", ""
    for number in range(2000):
        word, quote = "".join(draw.choices(SIGNS, k=draw.randrange(9))), draw.choice(["", "", "'", '"'])
        line = f"HEARTBEAT_{number}={quote}{word}{quote}\n"
        file.write_text(line, encoding="utf-8")
        try:
            read_environment()
        except ConfigError:
            continue
        kept += line
    file.write_text(kept, encoding="utf-8")
    ours = {name: value for name, value in read_environment().items() if name.removeprefix("HEARTBEAT_").isdecimal()}

    assert len(ours) > 500
    assert compose_reads(tmp_path, ours) == ours
