"""What Grafana is given for Prometheus: a data source that does no harm, and the dashboard "Services"."""

from typing import Final

from jsonschema import Draft202012Validator

from tests.unit.test_provisioning import (
    FLAG,
    GRAFANA,
    SERVICES,
    TEXT,
    everything_named,
    one_file_of,
    only,
    provisioned,
    read,
)

# Source: Grafana's manual, "Configure the Prometheus data source".
DATA_SOURCES: Final = one_file_of(
    "datasources",
    only(
        {
            "name": TEXT, "type": {"const": "prometheus"}, "access": {"enum": ["proxy"]}, "uid": TEXT,
            "url": {"const": "http://prometheus:9090"}, "isDefault": {"const": False}, "editable": FLAG,
            "jsonData": only({"httpMethod": {"const": "POST"}, "timeInterval": TEXT, "manageAlerts": FLAG}),
        },
        "name", "type", "uid", "url", "isDefault", "jsonData",
    ),
)  # fmt: skip


def test_data_source_has_documented_fields_and_is_not_the_default() -> None:
    """As the default, it would be asked by new panels, and Prometheus is not part of a usual start."""
    errors = Draft202012Validator(DATA_SOURCES).iter_errors(provisioned("datasources", "prometheus"))

    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_every_provisioning_file_is_one_that_a_test_reads() -> None:
    """Grafana reads each file in these folders."""
    folder = GRAFANA / "provisioning"

    assert {file.name for file in (folder / "datasources").iterdir()} == {"heartbeats.yml", "prometheus.yml"}
    assert {file.name for file in (folder / "dashboards").iterdir()} == {"heartbeats.yml"}


def test_every_panel_about_the_services_reads_prometheus() -> None:
    """And says what to start while it is empty, because Prometheus is not part of a usual start."""
    (source,) = provisioned("datasources", "prometheus")["datasources"]
    dashboard = read(SERVICES)
    (variable,) = dashboard["templating"]["list"]
    texts = [panel["fieldConfig"]["defaults"]["noValue"] for panel in dashboard["panels"]]

    assert all(
        named == {"type": "prometheus", "uid": "${source}"} for named in everything_named("datasource", dashboard)
    )
    assert (variable["type"], variable["name"], variable["query"]) == ("datasource", "source", source["type"])
    assert variable["current"] == {"text": source["name"], "value": source["uid"]}
    assert all("docker compose --profile monitoring up -d" in text for text in texts)
