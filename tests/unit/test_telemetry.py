"""Metrics and health are asked over real HTTP, as Prometheus and a container's health check do."""

import contextlib
import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Final

import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from common import telemetry
from common.errors import ConfigError
from common.telemetry import HEALTHY_FOR_S, MAX_CONNECTIONS, Health, serve
from local.service import ROOT
from store.metrics import STORED

HOST: Final = "127.0.0.1"
STORING: Final = {
    "heartbeat_consumer_stored_total", "heartbeat_consumer_rejected_total", "heartbeat_consumer_lag_records",
    "heartbeat_consumer_lag_seconds", "heartbeat_consumer_fenced_total", "heartbeat_consumer_retries_total",
    "heartbeat_consumer_duplicates_total", "heartbeat_consumer_events_dropped_total",
    "heartbeat_consumer_maintenance_failures_total",
    "heartbeat_consumer_maintenance_last_success_timestamp_seconds",
}  # fmt: skip
NAMES: Final = {
    "producer": {
        "heartbeat_producer_delivered_total", "heartbeat_producer_undelivered_total",
        "heartbeat_producer_skipped_total", "heartbeat_producer_in_flight",
    },
    "consumer": STORING | {
        "heartbeat_consumer_batch_rows", "heartbeat_consumer_batch_seconds", "heartbeat_consumer_rebalances_total",
    },
}  # fmt: skip
# What a service would serve, once all of it is loaded.
EXPORTED: Final = "import {}.__main__; from prometheus_client import generate_latest; print(generate_latest().decode())"


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        """Return its time in seconds."""
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Return the clock that health is measured by."""
    clock = Clock()
    monkeypatch.setattr(telemetry, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def free_port() -> int:
    """Find a port on which no process listens."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> tuple[int, str, str]:
    """Ask by HTTP, and give the status, the type and the body."""
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    finally:
        connection.close()


def started(health: Health) -> int:
    """Serve on a free port, and give it."""
    port = free_port()
    serve(HOST, port, health, setting="consumer.metrics_port")
    return port


def test_metrics_are_served_as_prometheus_reads_them() -> None:
    """A scraper reads the type and the value, not Python's objects."""
    STORED.inc(3)

    status, content_type, body = get(started(Health()), "/metrics")

    families = {family.name: family for family in text_string_to_metric_families(body)}
    assert status == 200
    assert content_type.startswith("text/plain")
    assert REGISTRY.get_sample_value("heartbeat_consumer_stored_total") == sum(
        sample.value for sample in families["heartbeat_consumer_stored"].samples if sample.name.endswith("_total")
    )


@pytest.mark.parametrize("service", NAMES)
def test_each_service_exports_its_own_metrics_only(service: str) -> None:
    """Dashboards and alerts depend on the names; a gauge that another service sets would read 0 here."""
    command = [sys.executable, "-c", EXPORTED.format(service)]
    body = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    ours = [family for family in text_string_to_metric_families(body) if family.name.startswith("heartbeat_")]
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in ours}
    assert {name for name in names if not name.endswith("_created")} == NAMES[service]
    assert all(family.documentation.endswith(".") for family in ours)


def test_healthz_turns_503_without_progress_and_back(clock: Clock) -> None:
    """A service that stopped making progress is restarted; one that waits out a failover is not."""
    health = Health()
    port = started(health)
    fresh = get(port, "/healthz")
    clock.now_s += HEALTHY_FOR_S - 0.001
    late = get(port, "/healthz")
    clock.now_s += 0.001
    stuck = get(port, "/healthz")
    health.ok()
    again = get(port, "/healthz")

    assert (fresh[0], late[0], stuck[0], again[0]) == (200, 200, 503, 200)
    assert (fresh[2], stuck[2]) == ("ok\n", "no progress\n")


def test_other_paths_say_which_there_are() -> None:
    """A person who opens the port in a browser is shown the way."""
    assert get(started(Health()), "/") == (404, "text/plain", "there are /metrics and /healthz\n")


def test_slow_client_holds_nobody_up() -> None:
    """A connection that never asks must not keep the health check from its answer."""
    port = started(Health())

    with socket.create_connection((HOST, port), timeout=10):
        assert get(port, "/healthz")[0] == 200


def closed_after_s(connection: socket.socket) -> float:
    """Wait until the server closes this connection, and return how long that took."""
    began = time.monotonic()
    connection.settimeout(10)
    assert connection.recv(1) == b""
    return time.monotonic() - began


def test_idle_connections_are_bounded_and_keep_nobody_out() -> None:
    """Each connection has a thread: clients could otherwise use up the service's memory and files."""
    port = started(Health())
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection((HOST, port), timeout=10)) for _ in range(100)]

        assert get(port, "/healthz")[0] == 200
        assert all(closed_after_s(one) < 1 for one in idle[: 100 - MAX_CONNECTIONS])
        assert threading.active_count() <= threads + MAX_CONNECTIONS + 2  # those that are just ending


@pytest.mark.parametrize("request_begins", [b"", b"GET /healthz HTTP/1.0\r\nX: "])
def test_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch, request_begins: bytes) -> None:
    """A client that vanished without a word would otherwise hold its thread for ever."""
    monkeypatch.setattr(telemetry, "SILENCE_S", 0.2)
    port = started(Health())

    with socket.create_connection((HOST, port), timeout=10) as connection:
        connection.sendall(request_begins)
        assert 0.1 < closed_after_s(connection) < 5


def test_scrapes_leave_nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """A scrape every few seconds is no event."""
    get(started(Health()), "/healthz")

    assert capfd.readouterr() == ("", "")


def test_taken_port_is_a_mistake_that_names_the_setting() -> None:
    """Two services on one machine: one line says which setting to change, and to what."""
    port = started(Health())

    with pytest.raises(ConfigError) as raised:
        serve(HOST, port, Health(), setting="producer.metrics_port")

    assert raised.value.message == f"cannot serve metrics on {HOST}:{port}: Address already in use"
    assert raised.value.hint == "Set another port, or 0 for none: HEARTBEAT_PRODUCER__METRICS_PORT."
    assert raised.value.exit_code == 2


def test_address_that_is_not_ours_is_a_mistake() -> None:
    """203.0.113.0/24 is reserved for documentation (RFC 5737)."""
    with pytest.raises(ConfigError, match=re.escape("cannot serve metrics on 203.0.113.1:")):
        serve("203.0.113.1", free_port(), Health(), setting="consumer.metrics_port")


def test_port_0_serves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """0 means none, not any."""
    monkeypatch.delattr(telemetry, "_Server")

    serve(HOST, 0, Health(), setting="consumer.metrics_port")
