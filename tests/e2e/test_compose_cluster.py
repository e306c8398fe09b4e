"""The files for three brokers and for a standby, resolved over the main file. Nothing is started."""

import re
from typing import Any, Final

import pytest

from local.service import ROOT
from tests.e2e.stack import SERVICES, resolve_file

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("engine")]

FILES: Final = ("docker-compose.yml", "docker-compose.cluster.yml", "docker-compose.standby.yml")
BROKERS: Final = ("kafka", "kafka-2", "kafka-3")
SERVERS: Final = ("postgresql", "postgresql-standby")
ALL_BROKERS: Final = "kafka:9092,kafka-2:9092,kafka-3:9092"


@pytest.fixture(scope="module")
def both(engine: None) -> dict[str, Any]:  # noqa: ARG001 - asked for, not looked at
    """Return everything with both files, which also go together."""
    return resolve_file(ROOT, *FILES, COMPOSE_PROFILES="spark")


def test_files_add_only_their_servers(both: dict[str, Any]) -> None:
    """Each file also works alone, over the main one."""
    alone = [resolve_file(ROOT, FILES[0], file)["services"].keys() - SERVICES for file in FILES[1:]]

    assert alone == [{"kafka-2", "kafka-3"}, {"postgresql-standby"}]
    assert both["services"].keys() == SERVICES | {"spark", *BROKERS, *SERVERS}


def test_brokers_are_one_cluster_with_copies_of_everything(both: dict[str, Any]) -> None:
    """A broker that votes alone would be a second cluster; one copy of the group's topic would stop all consumers."""
    of = {name: both["services"][name]["environment"] for name in BROKERS}

    assert [one["KAFKA_NODE_ID"] for one in of.values()] == ["1", "2", "3"]
    for name, one in of.items():
        assert one["KAFKA_CONTROLLER_QUORUM_VOTERS"] == "1@kafka:9093,2@kafka-2:9093,3@kafka-3:9093"
        assert one["KAFKA_ADVERTISED_LISTENERS"].startswith(f"INTERNAL://{name}:9092,EXTERNAL://localhost:")
        assert one["KAFKA_LISTENERS"].endswith("CONTROLLER://:9093")  # the others reach it, not only itself
        assert one["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == "3"
        assert one["KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR"] == "3"
        assert one["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == "2"


def test_services_know_all_servers(both: dict[str, Any]) -> None:
    """With one address, the loss of that server is an outage for everything that starts meanwhile."""
    services = both["services"]
    for name in ("producer", "consumer", "spark"):
        assert services[name]["environment"]["HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS"] == ALL_BROKERS
        assert services[name]["environment"]["HEARTBEAT_KAFKA__REPLICATION_FACTOR"] == "3"
        assert services[name]["depends_on"].keys() >= set(BROKERS)  # so that the topic can have three copies
    for name in ("consumer", "spark"):
        assert services[name]["environment"]["HEARTBEAT_POSTGRESQL__HOST"] == ",".join(SERVERS)

    assert services["kafka-ui"]["environment"]["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == ALL_BROKERS
    assert services["schema"]["environment"]["PGHOST"] == ",".join(SERVERS)
    assert services["schema"]["environment"]["PGTARGETSESSIONATTRS"] == "read-write"


@pytest.mark.parametrize("servers", [BROKERS, SERVERS])
def test_servers_share_neither_data_nor_ports(both: dict[str, Any], servers: tuple[str, ...]) -> None:
    """Two servers on one volume would destroy it."""
    services = [both["services"][name] for name in servers]
    data = [v["source"] for one in services for v in one["volumes"] if v["type"] == "volume"]
    published = [(port["host_ip"], port["published"]) for one in services for port in one["ports"]]

    assert len(set(data)) == len(data)
    assert both["volumes"].keys() >= set(data)
    assert len(set(published)) == len(servers)
    assert {address for address, _ in published} == {"127.0.0.1"}


@pytest.mark.parametrize("name", ["kafka-2", "kafka-3", "postgresql-standby"])
def test_added_server_is_confined_like_the_first(both: dict[str, Any], name: str) -> None:
    """It is the same program with the same rights, limits and health check."""
    added = both["services"][name]
    first = both["services"]["kafka" if name.startswith("kafka") else "postgresql"]
    same = (
        "image", "read_only", "cap_drop", "security_opt", "pids_limit", "mem_limit", "logging", "restart", "networks",
        "healthcheck", "tmpfs", "stop_grace_period", "command",
    )  # fmt: skip

    assert {key: added.get(key) for key in same} == {key: first.get(key) for key in same}


def test_replication_needs_a_password_and_a_network_of_compose(both: dict[str, Any]) -> None:
    """The image's own rules admit no replication from elsewhere. No other address may copy the database."""
    rules = (ROOT / "db" / "pg_hba.conf").read_text(encoding="utf-8")
    for name in SERVERS:
        [mount] = [v for v in both["services"][name]["volumes"] if v["type"] == "bind"]
        assert (mount["read_only"], mount["bind"]["selinux"]) == (True, "z")
        assert both["services"][name]["command"] == ["-c", f"hba_file={mount['target']}"]

    assert re.findall(r"^host replication .*", rules, re.MULTILINE) == ["host replication all samenet scram-sha-256"]
