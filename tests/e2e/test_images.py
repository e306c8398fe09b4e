"""The two images that are built here: small, without rights, quickly built again, and stoppable."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from local.service import ROOT
from local.waiting import wait_until
from tests.e2e.stack import Stack, docker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

SERVICES: Final = ("producer", "consumer")
PARTS: Final = {
    "producer": ("common", "config.yml", "producer"),
    "consumer": ("common", "config.yml", "consumer", "contracts", "store"),
}
BASE: Final = "python:3.13-slim"
MAX_OWN_BYTES: Final = 120_000_000


def inspect(image: str) -> dict[str, Any]:
    """Say what docker knows of an image."""
    found: dict[str, Any] = json.loads(docker("image", "inspect", image))[0]
    return found


def image_of(service: str) -> str:
    """Name the image that the stack built."""
    return f"{os.environ['COMPOSE_PROJECT_NAME']}-{service}"


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("stack")
def test_image_is_small(service: str) -> None:
    """Everything in it has to be shipped, and patched."""
    assert inspect(image_of(service))["Size"] - inspect(BASE)["Size"] < MAX_OWN_BYTES


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("stack")
def test_image_has_neither_rights_nor_a_shell_in_between(service: str) -> None:
    """A shell as the main process would keep SIGTERM to itself."""
    config = inspect(image_of(service))["Config"]

    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "-m", service]
    assert config["Cmd"] is None
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python"]


@pytest.mark.parametrize("service", SERVICES)
def test_image_holds_its_service_and_nothing_else(stack: Stack, service: str) -> None:
    """Tests, dashboards and above all .env stay outside."""
    assert sorted(stack.run_in(service, "ls", "-A", "/app").split()) == sorted(PARTS[service])


@pytest.mark.parametrize("service", SERVICES)
def test_dockerfile_asks_a_registry_for_the_base_only(service: str) -> None:
    """A `# syntax=` line would fetch a frontend at each build, for nothing that is used."""
    lines = (ROOT / f"Dockerfile.{service}").read_text(encoding="utf-8").splitlines()

    assert {line.split()[1] for line in lines if line.startswith("FROM")} == {BASE}
    assert not lines[0].startswith("# syntax")


def copy_project(folder: Path) -> None:
    """Copy what the images are built from."""
    names = (
        "common",
        "producer",
        "consumer",
        "contracts",
        "store",
        "db",
        "config.yml",
        ".dockerignore",
        "Dockerfile.schema",
    )
    for name in (
        *names,
        *(f"{kind}{s}{end}" for s in SERVICES for kind, end in (("Dockerfile.", ""), ("requirements/", ".txt"))),
    ):
        source = ROOT / name
        (folder / name).parent.mkdir(exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, folder / name)


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    """Return a function that builds a service from a copy of the project, and says the image's layers."""
    copy_project(tmp_path)
    tags: list[str] = []

    def build(service: str) -> list[str]:
        tags.append(tag := f"heartbeat-e2e-{uuid.uuid4().hex[:8]}")
        docker("build", "--quiet", "--file", str(tmp_path / f"Dockerfile.{service}"), "--tag", tag, str(tmp_path))
        layers: list[str] = inspect(tag)["RootFS"]["Layers"]
        return layers

    yield build
    docker("rmi", *tags)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.usefixtures("stack")
def test_a_code_change_makes_one_small_layer_anew(
    build: Callable[[str], list[str]], tmp_path: Path, service: str
) -> None:
    """Packages are not installed again for a changed line: that is what makes a build take seconds."""
    before = build(service)
    with (tmp_path / service / "__main__.py").open("a", encoding="utf-8") as code:
        code.write("# changed\n")

    after = build(service)

    assert after[:-1] == before[:-1]
    assert after[-1] != before[-1]


@pytest.mark.parametrize(("service", "folder"), [("producer", "/app"), ("consumer", "/app"), ("schema", "/db")])
@pytest.mark.usefixtures("engine")
def test_image_of_a_private_clone_can_be_read(tmp_path: Path, service: str, folder: str) -> None:
    """Under umask 077 git makes files that only their owner may read, and the image's user is somebody else."""
    copy_project(tmp_path)
    for path in tmp_path.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    tag = f"heartbeat-e2e-{uuid.uuid4().hex[:8]}"
    docker("build", "--quiet", "--file", str(tmp_path / f"Dockerfile.{service}"), "--tag", tag, str(tmp_path))
    try:
        unreadable = docker("run", "--rm", "--entrypoint", "find", tag, folder, "!", "-readable")
    finally:
        docker("rmi", tag)

    assert unreadable == ""


@pytest.mark.parametrize("service", SERVICES)
def test_a_stop_is_clean(stack: Stack, service: str) -> None:
    """SIGTERM arrives, what is under way is finished, and docker does not have to kill."""
    stack.wait_until_rows_flow()
    (container,) = stack.containers(service)

    stack.compose("stop", service)
    ended = docker("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", container)
    stack.compose("start", service)

    assert ended == "0 false"
    assert stack.events(service, "service stopped")
    wait_until(lambda: stack.health(service) == "healthy")
