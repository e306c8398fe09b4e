"""The profile `monitoring`: Prometheus finds every container, and says which service is gone."""

import json
import os
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from local.waiting import wait_until
from tests.e2e.stack import MONITORING, SERVICES, Resolved, Stack, resolve

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FOUND_WITHIN_S: Final = 30.0  # DNS is asked every 5 s, a target as well
FIRES_WITHIN_S: Final = 60.0  # 30 s without an answer; the rest is for the stop, DNS, a scrape and an evaluation
PROCESS: Final = ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds")


def ask(path: str, **parameters: str) -> dict[str, Any]:
    """Ask Prometheus on its published port, as a person's browser does."""
    address = f"http://127.0.0.1:{os.environ['PROMETHEUS_PORT']}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(address, timeout=5) as answer:
        answered: dict[str, Any] = json.load(answer)["data"]
        return answered


def targets() -> Counter[tuple[str, str]]:
    """Count the targets by job and health."""
    return Counter((target["labels"]["job"], target["health"]) for target in ask("targets")["activeTargets"])


def firing() -> set[str]:
    """Return the names of the alerts that fire."""
    return {alert["labels"]["alertname"] for alert in ask("alerts")["alerts"] if alert["state"] == "firing"}


def scale(stack: Stack, consumers: int) -> None:
    """Run so many consumers."""
    stack.compose("up", "--detach", "--wait", "--no-build", "--no-deps", "--scale", f"consumer={consumers}", "consumer")


@pytest.fixture(scope="module")
def monitored(stack: Stack) -> Iterator[Stack]:
    """The pipeline with Prometheus, as `docker compose --profile monitoring up` starts it."""
    stack.wait_until_rows_flow()
    stack.compose("--profile", "monitoring", "up", "--detach", "--wait", "--no-build", "prometheus")
    yield stack
    stack.compose("--profile", "monitoring", "rm", "--stop", "--force", "prometheus")


def test_prometheus_is_an_addition_for_those_who_want_it(services: Resolved) -> None:
    """Who does not start it has the same services with the same settings, networks and volumes."""
    usual = resolve()

    assert usual.keys() == SERVICES
    assert services.keys() - usual.keys() == MONITORING
    assert {name: services[name] for name in usual} == usual


def test_prometheus_keeps_a_bounded_history(services: Resolved) -> None:
    """By default, it keeps 15 days of any size."""
    options = dict(option.removeprefix("--").split("=") for option in services["prometheus"]["command"])

    assert options["storage.tsdb.path"] == "/prometheus"
    assert options["storage.tsdb.retention.time"] == "15d"
    assert options["storage.tsdb.retention.size"] == "1GB"


def test_every_container_is_found_also_after_scaling(monitored: Stack) -> None:
    """Each has its own metrics; a consumer that is not asked is missing in every sum."""
    one = {("producer", "up"): 1, ("consumer", "up"): 1}
    wait_until(lambda: targets() == one, FOUND_WITHIN_S, "one target of each service")
    scale(monitored, 2)
    wait_until(lambda: targets() == {**one, ("consumer", "up"): 2}, FOUND_WITHIN_S, "both consumers")
    exported = {name: len(ask("query", query=f"{name} > 0")["result"]) for name in PROCESS}
    scale(monitored, 1)
    wait_until(lambda: targets() == one, FOUND_WITHIN_S, "the removed consumer has no target")

    assert exported == dict.fromkeys(PROCESS, 3)  # what the panels of memory and CPU show


def test_a_stopped_producer_is_named_within_a_minute(monitored: Stack) -> None:
    """And the alert ends when it is back."""
    wait_until(lambda: not firing(), FIRES_WITHIN_S, "no alert")
    monitored.compose("stop", "producer")
    wait_until(lambda: "ProducerGone" in firing(), FIRES_WITHIN_S, "the alert")
    named = firing()
    monitored.compose("start", "producer")
    wait_until(lambda: not firing(), FIRES_WITHIN_S, "the alert's end")

    assert named == {"ProducerGone"}  # and no other part


def test_prometheus_can_write_only_to_its_volume(monitored: Stack) -> None:
    """It has no right to anything else, and needs none: its log has no complaint."""
    log = monitored.compose("logs", "--no-log-prefix", "prometheus")

    assert "permission denied" not in log
    assert "read-only" not in log
    assert monitored.health("prometheus") == "healthy"
