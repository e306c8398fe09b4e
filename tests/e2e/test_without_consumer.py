"""The consumer's commands when its service cannot run: in a container of their own, by `docker compose run`."""

from collections.abc import Iterator

import pytest

from local.waiting import wait_until
from tests.e2e.stack import RECOVERY_S, Stack, docker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

RUN = ("run", "--rm", "--no-deps")


@pytest.fixture
def failing(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack whose consumer ends again and again."""
    up = ("up", "--detach", "--no-build", "--no-deps", "consumer")
    stack.wait_until_rows_flow()
    monkeypatch.setenv("HEARTBEAT_CONSUMER__MAX_BATCH", "0")
    stack.compose(*up)
    (container,) = stack.containers("consumer")
    wait_until(lambda: int(docker("inspect", "--format", "{{.RestartCount}}", container)) > 1, what="a restart loop")
    monkeypatch.delenv("HEARTBEAT_CONSUMER__MAX_BATCH")
    yield stack
    stack.compose(*up)
    stack.wait_until_rows_flow()


def test_commands_run_beside_a_consumer_in_a_restart_loop(failing: Stack) -> None:
    """`exec` needs a running container, and these commands are wanted most when there is none."""
    verified = failing.compose(*RUN, "consumer", "verify", "--full").splitlines()[-1]
    replayed = failing.compose(*RUN, "consumer", "replay", "--dry-run")

    assert verified.startswith("the ledger balances")
    assert replayed == "0 messages would move to heartbeats"


def test_consumer_is_started_once_with_another_setting(failing: Stack) -> None:
    """A setting such as `skip_expired` is for one start; a stop of that container is as clean as the service's."""
    failing.compose("stop", "consumer")
    once = failing.compose(*RUN, "--detach", "--env", "HEARTBEAT_CONSUMER__MAX_BATCH=77", "consumer").splitlines()[-1]
    failing.wait_until_rows_flow(RECOVERY_S)
    settings = docker("inspect", "--format", "{{.Config.Env}}", once)
    docker("stop", "--time", "45", once)

    assert "HEARTBEAT_CONSUMER__MAX_BATCH=77" in settings
    assert failing.compose(*RUN, "consumer", "verify", "--full").splitlines()[-1].startswith("the ledger balances")
