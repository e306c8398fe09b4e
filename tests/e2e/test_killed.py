"""Killed services come back by themselves, with nothing missing and nothing twice; more consumers share the work."""

import time

import pytest

from local.waiting import wait_until
from tests.e2e.stack import PARTITIONS, PIPELINE, RECOVERY_S, Stack, docker

pytestmark = [pytest.mark.e2e, pytest.mark.fault, pytest.mark.timeout(600)]


def kill(container: str) -> None:
    """Kill its main process as the kernel does when memory runs out; after a `docker kill` it would stay down."""
    pid = docker("inspect", "--format", "{{.State.Pid}}", container)
    privilege = ["--pid=host", "--user=root", "--cap-drop=ALL", "--cap-add=KILL"]
    docker("run", "--rm", *privilege, "--entrypoint=bash", "postgres:18", "-c", f"kill -KILL {pid}")


@pytest.mark.parametrize("service", PIPELINE)
def test_killed_service_heals_by_itself(stack: Stack, service: str) -> None:
    """The services recover without an operator."""
    stack.wait_until_rows_flow()
    (container,) = stack.containers(service)
    started = docker("inspect", "--format", "{{.State.StartedAt}}", container)

    kill(container)

    wait_until(lambda: docker("inspect", "--format", "{{.State.StartedAt}}", container) != started, RECOVERY_S)
    wait_until(lambda: stack.health(service) == "healthy", RECOVERY_S)
    stack.wait_until_rows_flow()
    stack.assert_nothing_is_missing_or_twice()


def test_three_consumers_share_the_partitions(stack: Stack) -> None:
    """`--scale consumer=3` needs nothing else, up or down."""
    scale = ("up", "--detach", "--no-build", "--no-recreate", "--wait", "--scale")
    stack.compose(*scale, "consumer=3", "consumer")
    wait_until(lambda: stack.partitions_by_member() == [2, 2, 2], RECOVERY_S, "two partitions each")
    before = stack.rows()
    wait_until(lambda: stack.rows() > before + 3000)
    stored = [
        docker("logs", "--since", "10s", container).count('"Stored"') for container in stack.containers("consumer")
    ]
    stack.assert_nothing_is_missing_or_twice()

    began = time.monotonic()
    stack.compose(*scale, "consumer=1", "consumer")
    wait_until(lambda: stack.partitions_by_member() == [PARTITIONS], RECOVERY_S, "all partitions at one")
    stack.wait_until_rows_flow()

    assert len(stored) == 3
    assert all(stored)
    assert time.monotonic() - began < 30
    stack.assert_nothing_is_missing_or_twice()
