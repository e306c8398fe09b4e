"""What compose hands on to the services: settings, credentials, files. Nothing is started."""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from common.settings import Settings, load
from local.service import ROOT
from tests.e2e.stack import Resolved, resolve

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("engine")]

# The images set the metrics' addresses, and their health checks rely on it; the servers' are those inside of compose,
# and a person who started a service on the host may still have the outer ones in the environment.
NOT_HANDED_ON: Final = {
    "HEARTBEAT_KAFKA__BOOTSTRAP_SERVERS", "HEARTBEAT_POSTGRESQL__HOST", "HEARTBEAT_POSTGRESQL__PORT",
    "HEARTBEAT_PRODUCER__METRICS_HOST", "HEARTBEAT_PRODUCER__METRICS_PORT",
    "HEARTBEAT_CONSUMER__METRICS_HOST", "HEARTBEAT_CONSUMER__METRICS_PORT",
}  # fmt: skip

PASSWORDS: Final = {
    "POSTGRESQL_PASSWORD": "the owner's",
    "POSTGRESQL_CONSUMER_PASSWORD": "the consumer's",
    "GRAFANA_POSTGRESQL_PASSWORD": "the reader's",
    "GRAFANA_PASSWORD": "the person's",
}


@pytest.mark.parametrize("name", ["producer", "consumer"])
def test_every_setting_can_be_overridden(name: str) -> None:
    """Compose hands on only what is named: a setting forgotten there would be ignored without a word."""
    sections = ["kafka", "logging", name, *(["event", "postgresql"] if name == "consumer" else [])]
    settings = {
        f"HEARTBEAT_{section}__{key}".upper()
        for section in sections
        for key in type(Settings.model_fields[section].default).model_fields
    }
    given = {variable: f"value of {variable}" for variable in settings}

    handed_on = resolve(**given)[name]["environment"]
    assert {k: v for k, v in handed_on.items() if k.startswith("HEARTBEAT_")} == {
        variable: value for variable, value in given.items() if variable not in NOT_HANDED_ON
    }


def test_nothing_is_overridden_by_default(services: Resolved) -> None:
    """config.yml holds the settings; an empty variable would go over it."""
    for name in ("producer", "consumer"):
        assert [
            k for k, v in services[name]["environment"].items() if k.startswith("HEARTBEAT_") and v is not None
        ] == []


def test_only_who_needs_a_password_has_it() -> None:
    """The owner's password is for the server and for the schema; the others have roles of their own, or none."""
    services = resolve(**PASSWORDS)
    known = {
        name: {v for v in (service.get("environment") or {}).values() if v in PASSWORDS.values()}
        for name, service in services.items()
    }

    assert known == {
        "kafka": set(),
        "kafka-ui": set(),
        "postgresql": {"the owner's"},
        "schema": {"the owner's", "the consumer's", "the reader's"},
        "producer": set(),
        "consumer": {"the consumer's"},
        "grafana": {"the reader's", "the person's"},
    }


def test_alerts_go_nowhere_until_an_address_is_set_and_only_grafana_knows_it(services: Resolved) -> None:
    """Grafana does not start with an empty address; a token in it is nobody else's business."""
    name, address = "GRAFANA_ALERT_WEBHOOK_URL", "https://example.org/hook?token=pa$word"
    told = {
        service: resolved for service, resolved in resolve(**{name: address}).items() if "example.org" in str(resolved)
    }

    assert services["grafana"]["environment"][name] == "grafana://noop"
    assert [*told] == ["grafana"]
    assert told["grafana"]["environment"][name].replace("$$", "$") == address


def test_passwords_from_files_are_in_no_environment(tmp_path: Path) -> None:
    """docker-compose.secrets.yml takes each variable away and mounts just the files that a service needs."""
    variables = dict.fromkeys(PASSWORDS, "a placeholder")
    services = resolve(
        **variables, COMPOSE_FILE="docker-compose.yml:docker-compose.secrets.yml", SECRETS_FOLDER=str(tmp_path),
        COMPOSE_PROFILES="spark",
    )  # fmt: skip
    files = {name: {secret["source"] for secret in service.get("secrets", [])} for name, service in services.items()}

    assert "a placeholder" not in str(services)
    assert files == {
        "kafka": set(),
        "kafka-ui": set(),
        "postgresql": {"postgresql_password"},
        "schema": {"postgresql_password", "postgresql_consumer_password", "grafana_postgresql_password"},
        "producer": set(),
        "consumer": {"postgresql_consumer_password"},
        "spark": {"postgresql_consumer_password"},
        "grafana": {"grafana_postgresql_password", "grafana_password"},
    }
    for name, service in services.items():
        named = {v.removeprefix("/run/secrets/") for k, v in (service.get("environment") or {}).items() if "_FILE" in k}
        assert named | set(re.findall(r"/run/secrets/(\w+)", str(service.get("entrypoint")))) == files[name]


def test_grafana_gets_the_password_of_the_file_as_it_is(tmp_path: Path) -> None:
    """Its entry point here is a shell's line, which must not read the password."""
    resolved = resolve(COMPOSE_FILE="docker-compose.yml:docker-compose.secrets.yml", SECRETS_FOLDER=str(tmp_path))
    (tmp_path / "grafana_postgresql_password").write_text('it\'s $HOME `a` \\ "b"\n')
    line = resolved["grafana"]["entrypoint"][2].replace("$$", "$").replace("/run/secrets", str(tmp_path))
    line = line.replace("exec /run.sh", "printenv GRAFANA_POSTGRESQL_PASSWORD")
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)

    assert done.stdout == 'it\'s $HOME `a` \\ "b"\n'


def test_an_empty_password_is_refused() -> None:
    """Otherwise PostgreSQL would reject every login, and say so only later."""
    with pytest.raises(AssertionError, match=r"POSTGRESQL_CONSUMER_PASSWORD.*is set in \.env"):
        resolve(POSTGRESQL_CONSUMER_PASSWORD="")


def test_grafana_finds_its_files_and_credentials(services: Resolved) -> None:
    """A missing variable is an empty one to Grafana, a missing folder an empty one to Docker: no word of either."""
    grafana = services["grafana"]
    files = {v["target"]: Path(v["source"]) for v in grafana["volumes"] if v["type"] == "bind"}
    provisioning, dashboards = files["/etc/grafana/provisioning"], files["/var/lib/grafana/dashboards"]
    texts = [
        (provisioning / name).read_text("utf-8")
        for name in ("datasources/heartbeats.yml", "alerting/contact-point.yml")
    ]
    sources = str([yaml.safe_load(text) for text in texts])
    providers = [yaml.safe_load(file.read_bytes()) for file in (provisioning / "dashboards").glob("*.yml")]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert set(re.findall(r"\$([A-Z_]+)", sources)) <= grafana["environment"].keys()
    assert [one["options"]["path"] for provider in providers for one in provider["providers"]] == [str(home.parent)]
    assert (dashboards / home.name).is_file()
    assert "'url': 'postgresql:5432'" in sources
    assert grafana["environment"]["GF_DASHBOARDS_MIN_REFRESH_INTERVAL"] == "1s"
    assert (
        grafana["environment"]["GF_SECURITY_ADMIN_USER"]
        == grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
        == "admin"
    )


def test_kafka_ui_shows_the_same_broker_as_the_services_use(services: Resolved) -> None:
    """An address that the broker does not advertise inside of compose would show an offline cluster."""
    address = load(ROOT / "config.yml").kafka.bootstrap_servers

    assert services["kafka-ui"]["environment"]["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"] == address
    assert f"INTERNAL://{address}," in services["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]


def test_kafka_ui_shows_messages_as_text_and_asks_nobody_outside(services: Resolved) -> None:
    """Its own serde for a topic named `heartbeats` is MirrorMaker's: each message would carry a red "!"."""
    shown = services["kafka-ui"]["environment"]
    changed = resolve(HEARTBEAT_KAFKA__TOPIC="other")["kafka-ui"]["environment"]
    patterns = ("KAFKA_CLUSTERS_0_SERDE_0_TOPICKEYSPATTERN", "KAFKA_CLUSTERS_0_SERDE_0_TOPICVALUESPATTERN")

    assert shown["KAFKA_CLUSTERS_0_SERDE_0_NAME"] == "String"
    assert {shown[pattern] for pattern in patterns} == {load(ROOT / "config.yml").kafka.topic}
    assert {changed[pattern] for pattern in patterns} == {"other"}
    assert shown["KAFKA_CLUSTERS_0_READONLY"] == "true"
    assert shown["GITHUB_RELEASE_INFO_ENABLED"] == "false"


def test_production_page_names_settings_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A setting that is only written about is found out on the day that it is needed."""
    page = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    known = {
        f"HEARTBEAT_{section}__{key}".upper()
        for section, field in Settings.model_fields.items()
        for key in type(field.default).model_fields
    }
    examples = dict(re.findall(r"^(HEARTBEAT_\w+)='(.*)'$", page, re.MULTILINE))
    for name, value in examples.items():
        monkeypatch.setenv(name, value)

    assert {name.removesuffix("_FILE") for name in re.findall(r"HEARTBEAT_\w+", page)} <= known
    assert load(ROOT / "config.yml").kafka.librdkafka["security.protocol"] == "ssl"
    assert load(ROOT / "config.yml").postgresql.libpq["sslmode"] == "verify-full"
