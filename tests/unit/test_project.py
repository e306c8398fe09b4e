"""The project's own files keep their promises: pins, sizes, no addresses."""

import re
import tomllib
from pathlib import Path
from typing import Final

import pytest
from packaging.dependency_groups import DependencyGroupResolver
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).parents[2]
GROUPS: Final = ("producer", "consumer", "demo", "dev", "spark")
SPARKS_OWN: Final = {"pandas", "py4j", "pyarrow", "pyspark", "python-dateutil", "pytz", "tzdata"}
LONGEST_MODULE: Final = 250  # lines; a longer one says why in its first ten, naming this limit
MODULES: Final = sorted(
    path
    for path in (path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
    if not any(part.startswith(".") for part in path.parts)
)


def pinned(group: str) -> dict[str, str]:
    """Return the pins of a requirements file: version by canonical name."""
    text = (ROOT / f"requirements/{group}.txt").read_text(encoding="utf-8")
    return {canonicalize_name(name): version for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)}


def asked_for(group: str) -> tuple[Requirement, ...]:
    """Return what a dependency group of pyproject.toml asks for, with the groups it includes."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    return DependencyGroupResolver(groups).resolve(group)


@pytest.mark.parametrize("group", GROUPS)
def test_pins_are_what_pyproject_asks_for(group: str) -> None:
    """A dependency added to pyproject.toml without `make requirements` would be missing in an image."""
    pins = pinned(group)

    assert [
        str(wanted)
        for wanted in asked_for(group)
        if not wanted.specifier.contains(pins.get(canonicalize_name(wanted.name), "0"))
    ] == []


@pytest.mark.parametrize("group", GROUPS)
def test_every_file_pins_what_the_tests_ran_with(group: str) -> None:
    """An image with another version than the tested one is an untested image; Spark itself is installed beside dev."""
    beside = SPARKS_OWN if group == "spark" else set()

    assert {pin for pin in pinned(group).items() if pin[0] not in beside} <= pinned("dev").items()


@pytest.mark.parametrize("group", GROUPS)
def test_pins_name_hashes_and_no_place_to_download_from(group: str) -> None:
    """Where packages come from is the machine's business; that they are the right ones is ours."""
    text = (ROOT / f"requirements/{group}.txt").read_text(encoding="utf-8")

    assert re.findall(r"://|^-.*", text, re.MULTILINE) == []
    assert all("--hash=sha256:" in pin for pin in re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:])


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module_is_short_or_says_why_not(module: Path) -> None:
    """A file that holds one thing stays short; a longer one owes its reader a reason."""
    lines = (ROOT / module).read_text(encoding="utf-8").splitlines()

    assert len(lines) <= LONGEST_MODULE or any(str(LONGEST_MODULE) in line for line in lines[:10])


PAGES: Final = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_does_not_source_the_env_file_in_a_shell(page: Path) -> None:
    """A shell would run what stands in it, and reads a $, a space and a quote in another way than compose."""
    found = re.findall(
        r"^\s*(?:\$ )?(?:set -a\b|source \S|\. \S).*|;\s*\. \S*env\b", page.read_text(encoding="utf-8"), re.MULTILINE
    )

    assert found == []


def test_production_page_names_the_production_values_in_every_command() -> None:
    """A command without them would go back to the committed passwords."""
    page = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    commands = re.findall(r"docker compose( .*)", page)

    assert len(commands) > 10
    assert [command for command in commands if not command.startswith(" --env-file /etc/heartbeat.env ")] == []
