"""The resolved compose file: what is published, pinned, bounded and allowed. Nothing is started."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from common.settings import load
from consumer.worker import DRAIN_S
from local.service import ROOT
from tests.e2e.stack import MONITORING, SERVICES, Resolved, resolve, resolve_file

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("engine")]

# Address on the host, port in the container.
PUBLISHED: Final = {
    "kafka": ("127.0.0.1", "9094", 9094),
    "kafka-ui": ("127.0.0.1", "8080", 8080),
    "postgresql": ("127.0.0.1", "5434", 5432),
    "grafana": ("127.0.0.1", "3000", 3000),
    "prometheus": ("127.0.0.1", "9090", 9090),
}
# Which versions: docs/platforms.md, held by tests/unit/test_versions.py.
IMAGES: Final = {
    "kafka": r"apache/kafka:\d+\.\d+\.\d+",
    "kafka-ui": r"ghcr\.io/kafbat/kafka-ui:v\d+\.\d+\.\d+",
    "postgresql": r"postgres:\d+",
    "grafana": r"grafana/grafana:\d+\.\d+\.\d+",
    "prometheus": r"prom/prometheus:v\d+\.\d+\.\d+",
}
# By network, who is on it: who needs nothing of another service shares no network with it.
NETWORKS: Final = {
    "sending": {"kafka", "producer", "prometheus"},
    "storing": {"kafka", "postgresql", "schema", "consumer", "spark", "prometheus"},
    "browsing": {"kafka", "kafka-ui"},
    "viewing": {"postgresql", "grafana", "prometheus"},
}
VOLUMES: Final = {"kafka-data", "kafka-config", "postgresql-data", "grafana-data"}
SECONDS: Final = re.compile(r"(?:(\d+)m)?(?:(\d+)s)?")


def seconds(duration: str) -> int:
    """Read compose's durations: 45s, 1m0s."""
    minutes, rest = SECONDS.fullmatch(duration).groups(default="0")  # type: ignore[union-attr]  # else the test fails
    return 60 * int(minutes) + int(rest)


def test_ports_are_the_known_ones_and_only_on_this_machine(services: Resolved) -> None:
    """Development passwords are committed: what listens on every address is open to everybody in the café."""
    published = {
        name: tuple((port["host_ip"], port["published"], port["target"]) for port in service["ports"])
        for name, service in services.items()
        if service.get("ports")
    }

    assert published == {name: (port,) for name, port in PUBLISHED.items()}


def test_a_taken_port_can_be_changed_and_kafka_advertises_the_new_one() -> None:
    """A client is sent to the advertised address: with the old port there it would never arrive."""
    kafka = resolve(KAFKA_PORT="19094")["kafka"]

    assert kafka["ports"][0]["published"] == "19094"
    assert kafka["environment"]["KAFKA_ADVERTISED_LISTENERS"] == "INTERNAL://kafka:9092,EXTERNAL://localhost:19094"


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_image_is_pinned(services: Resolved, name: str) -> None:
    """The same file starts the same programs next year."""
    assert re.fullmatch(IMAGES[name], services[name]["image"])


@pytest.mark.parametrize("name", sorted(SERVICES | MONITORING))
def test_service_has_no_privilege(services: Resolved, name: str) -> None:
    """An attacker who takes over a service has a process without rights on a read-only file system."""
    service = services[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"cap_add", "privileged", "pid", "ipc", "network_mode", "devices", "userns_mode"} & service.keys()
    for volume in service.get("volumes", []):
        if volume["type"] == "bind":
            assert volume["read_only"] is True
            assert volume["bind"]["selinux"] == "z"  # otherwise SELinux lets no container read it


def test_services_reach_only_what_they_need() -> None:
    """Grafana, Kafka-UI or the producer, taken over, reach the server they use and none of the other services."""
    services = resolve(COMPOSE_PROFILES="spark,monitoring")
    found = {network: {n for n, s in services.items() if network in s["networks"]} for network in NETWORKS}

    assert found == NETWORKS
    assert {network for service in services.values() for network in service["networks"]} == NETWORKS.keys()


def test_mounts_in_memory_have_options_that_podman_knows() -> None:
    """Docker knows `uid` and `gid`; Podman refuses them."""
    options = {
        option
        for service in resolve(COMPOSE_PROFILES="spark,monitoring").values()
        for mount in service.get("tmpfs", [])
        for option in mount.partition(":")[2].split(",")
    }

    assert options == {"", "exec"}


def test_a_second_clone_has_volumes_of_its_own(tmp_path: Path) -> None:
    """A fixed project name would let the second clone's `up` take over the first one's containers and data."""
    names = set()
    for clone in ("first", "second"):
        (tmp_path / clone).mkdir()
        for file in ("docker-compose.yml", ".env"):
            shutil.copy2(ROOT / file, tmp_path / clone)
        names |= {volume["name"] for volume in resolve_file(tmp_path / clone)["volumes"].values()}

    assert names == {f"{clone}_{name}" for clone in ("first", "second") for name in VOLUMES}
    named = resolve_file(COMPOSE_PROJECT_NAME="heartbeat")["volumes"].values()  # as all were before
    assert {volume["name"] for volume in named} == {f"heartbeat_{name}" for name in VOLUMES}


@pytest.mark.parametrize("name", ["kafka-ui", "grafana", "prometheus"])
def test_health_check_goes_past_a_proxy(services: Resolved, name: str) -> None:
    """Docker's client can put a company's proxy into each container, and the image's wget (busybox) would ask it."""
    test = services[name]["healthcheck"]["test"]

    assert test[1:4] == ["wget", "-Y", "off"]


def test_old_docker_compose_refuses_the_file() -> None:
    """Version 1.29 would start a part and fail later; it refuses what it does not know, and the README quotes that."""
    raw = yaml.safe_load((ROOT / "docker-compose.yml").read_bytes())

    assert raw["services"]["producer"]["depends_on"]["kafka"]["required"] is True
    assert "contains unsupported option: 'required'" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_schema_job_has_the_servers_version(services: Resolved) -> None:
    """Its psql is the server's, and one tag is forgotten easily."""
    lines = (ROOT / "Dockerfile.schema").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if line.startswith("FROM")] == [f"FROM {services['postgresql']['image']}"]


@pytest.mark.parametrize("file", sorted(ROOT.glob("Dockerfile.*")), ids=lambda file: file.name)
def test_images_set_the_modes_of_their_files(file: Path) -> None:
    """A clone made under umask 077 has files that only its owner may read, and an image's user is another one."""
    copied = re.findall(r"^COPY (?!--from)(.*)", file.read_text(encoding="utf-8"), re.MULTILINE)

    assert copied
    assert all(line.startswith(("--chmod=755 ", "requirements/")) for line in copied)  # those are read by root


@pytest.mark.parametrize("name", sorted(SERVICES | MONITORING))
def test_service_is_bounded_and_comes_back(services: Resolved, name: str) -> None:
    """Neither memory nor logs eat the machine, and a service that died is started again; the schema's job ends."""
    service = services[name]

    assert int(service["mem_limit"]) <= 1024**3
    assert int(service["pids_limit"]) <= 512
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
    assert service["restart"] == ("no" if name == "schema" else "unless-stopped")
    assert "container_name" not in service  # or --scale would not work


@pytest.mark.parametrize("name", sorted((SERVICES | MONITORING) - {"schema"}))
def test_service_has_a_health_check(services: Resolved, name: str) -> None:
    """Start-up goes by health, never by time; the services built here bring theirs in the image."""
    if "build" in services[name]:
        dockerfile = (ROOT / services[name]["build"]["dockerfile"]).read_text(encoding="utf-8")

        assert re.search(r'^HEALTHCHECK .* CMD \["', dockerfile, re.MULTILINE)
    else:
        assert services[name]["healthcheck"]["test"][0] == "CMD"


def test_services_start_in_the_order_of_their_health(services: Resolved) -> None:
    """A service that needs a server waits until it answers; one that needs the tables waits until they exist."""
    order = {
        name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()}
        for name, service in services.items()
    }

    assert order == {
        "kafka": {},
        "postgresql": {},
        "schema": {"postgresql": "service_healthy"},
        "producer": {"kafka": "service_healthy"},
        "consumer": {"kafka": "service_healthy", "schema": "service_completed_successfully"},
        "grafana": {"schema": "service_completed_successfully"},
        "kafka-ui": {"kafka": "service_healthy"},
        "prometheus": {},  # it has to tell what does not start
    }


def test_a_stop_waits_for_what_is_under_way(services: Resolved) -> None:
    """Docker kills after ten seconds by default."""
    flush_timeout_s = load(ROOT / "config.yml").producer.flush_timeout_s

    assert seconds(services["consumer"]["stop_grace_period"]) > DRAIN_S
    assert seconds(services["producer"]["stop_grace_period"]) > flush_timeout_s


def test_data_is_on_named_volumes(services: Resolved) -> None:
    """`down` removes containers; nameless volumes would be lost with them, or pile up."""
    volumes = {
        name: {v["target"]: v["source"] for v in service.get("volumes", []) if v["type"] == "volume"}
        for name, service in services.items()
    }

    assert {name: found for name, found in volumes.items() if found} == {
        "kafka": {"/var/lib/kafka/data": "kafka-data", "/opt/kafka/config": "kafka-config"},  # the second one in memory
        "postgresql": {"/var/lib/postgresql": "postgresql-data"},
        "grafana": {"/var/lib/grafana": "grafana-data"},
        "prometheus": {"/prometheus": "prometheus-data"},
    }
    assert services["kafka"]["environment"]["KAFKA_LOG_DIRS"] == "/var/lib/kafka/data"


def test_published_images_are_used_without_a_build() -> None:
    """Who names a registry builds nothing; a build that stayed would hide the published image under its name."""
    chosen = {"IMAGE_PREFIX": "registry.example.org/you/heartbeat-", "IMAGE_TAG": "1.2.3", "COMPOSE_PROFILES": "spark"}
    files = ("docker-compose.yml", "docker-compose.images.yml")
    services = resolve_file(ROOT, *files, **chosen)["services"]

    assert [name for name, service in services.items() if "build" in service] == []
    for name in ("schema", "producer", "consumer", "spark"):
        assert services[name]["image"] == f"registry.example.org/you/heartbeat-{name}:1.2.3"


def test_the_standalone_command_reads_the_file_alike() -> None:
    """`docker-compose` with a hyphen is what many type."""
    command = shutil.which("docker-compose")
    if command is None:
        pytest.skip("docker-compose is not installed")
    done = subprocess.run([command, "config", "--format", "json"], cwd=ROOT, capture_output=True, check=True)

    assert json.loads(done.stdout)["services"].keys() == resolve().keys()
