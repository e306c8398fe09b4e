"""One stack for the session, from the project's own compose file; each test leaves it running."""

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.e2e.stack import DOCKER, Resolved, Stack, resolve, stack_environment


@pytest.fixture(scope="session")
def engine() -> None:
    """Docker with compose: without it these tests are skipped on a laptop and fail in CI."""
    for asked, missing in (("info", "no docker engine answers"), ("compose", "docker has no compose")):
        try:
            subprocess.run([DOCKER, asked], capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)


@pytest.fixture(scope="session")
def services(engine: None) -> Resolved:  # noqa: ARG001 - asked for, not looked at
    """Every service of the file but Spark, resolved with nothing but .env."""
    return resolve(COMPOSE_PROFILES="monitoring")


@pytest.fixture(scope="session")
def stack(engine: None) -> Iterator[Stack]:  # noqa: ARG001 - asked for, not looked at
    """The pipeline, built and healthy; `healthy_after_s` tells how long that took after the build."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in stack_environment().items():
            environment.setenv(name, value)
        started = Stack()
        try:
            started.compose("build")
            began = time.monotonic()
            started.start()
            started.healthy_after_s = time.monotonic() - began
            yield started
        finally:
            started.remove()
