"""What GitHub, editors and image registries read agrees with the project: targets, images, pins, versions."""

import json
import re
import subprocess
import sys
from typing import Any, Final

import pytest
import yaml

from common.version import VERSION
from tests.documents import ROOT

WORKFLOWS: Final = {
    path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))
}
IMAGES: Final = {path.suffix.removeprefix(".") for path in ROOT.glob("Dockerfile.*")}


def matrix(workflow: str, job: str) -> dict[str, Any]:
    """Return what a job is repeated for."""
    found: dict[str, Any] = yaml.safe_load(WORKFLOWS[workflow])["jobs"][job]["strategy"]["matrix"]
    return found


def test_workflow_runs_the_targets_of_ci() -> None:
    """A check that only one of the two runs would break the other's main branch unseen."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    targets = [
        *re.findall(r"\brun ([a-z0-9-]+)$", script, re.MULTILINE),
        *re.findall(r"^make (.+)$", script, re.MULTILINE),
    ]

    assert len(targets) == 6
    assert sorted(matrix("check.yml", "make")["targets"]) == sorted(targets)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_action_is_pinned_to_a_commit(name: str) -> None:
    """Whoever takes over an action can move its tags, and would run in this repository."""
    uses = re.findall(r"uses: (.+)", WORKFLOWS[name])

    assert uses
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+|\./\.github/workflows/\w+\.yml .*", use) for use in uses)


def test_every_image_is_published_and_can_be_used_without_building_it() -> None:
    """An image forgotten in one of the places would be built by whoever wanted to build none."""
    services = yaml.safe_load((ROOT / "docker-compose.images.yml").read_text().replace("!reset", ""))["services"]
    named = re.findall(r"for image in (.+); do", WORKFLOWS["images.yml"])

    assert set(matrix("images.yml", "build")["image"]) == IMAGES
    assert [set(names.split()) for names in named] == [IMAGES]
    assert {name: re.sub(r"\$\{(\w+)[^}]*\}", r"\1 ", service["image"]) for name, service in services.items()} == {
        name: f"IMAGE_PREFIX {name}:IMAGE_TAG " for name in IMAGES
    }


def test_development_container_has_the_python_of_the_images() -> None:
    """An editor with another Python shows other faults than the image has."""
    first = (ROOT / "Dockerfile.consumer").read_text(encoding="utf-8").splitlines()[1].split()[1]
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    dockerfile = (ROOT / ".devcontainer" / container["build"]["dockerfile"]).read_text(encoding="utf-8")

    assert f"FROM {first}\n" in dockerfile
    assert f"useradd --create-home --shell /bin/bash {container['remoteUser']}\n" in dockerfile


@pytest.mark.parametrize("command", ["producer", "consumer", "demo"])
def test_command_says_its_version(command: str) -> None:
    """A report of a fault needs the version, also of an image without a repository around it."""
    done = subprocess.run(
        [sys.executable, "-m", command, "--version"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, f"heartbeat-pipeline {VERSION}\n", "")


def test_changelog_has_a_section_of_the_version() -> None:
    """A tag whose changes are not listed is an upgrade in the dark."""
    headings = re.findall(r"^## \[(.+?)\](.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)

    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == VERSION
    assert all(re.fullmatch(r" - \d{4}-\d\d-\d\d", date) for _, date in headings[1:])
