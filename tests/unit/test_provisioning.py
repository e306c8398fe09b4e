"""What Grafana is given at its start: it says little about what it does not like."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
from jsonschema import Draft202012Validator

GRAFANA: Final = Path(__file__).resolve().parents[2] / "grafana"
SERVICES: Final = GRAFANA / "dashboards" / "services.json"  # the only one that reads Prometheus
DASHBOARDS: Final = sorted(set((GRAFANA / "dashboards").glob("*.json")) - {SERVICES})

TEXT: Final = {"type": "string"}
FLAG: Final = {"type": "boolean"}
COUNT: Final = {"type": "integer", "minimum": 0}
FROM_ENVIRONMENT: Final = {"type": "string", "pattern": r"^\$[A-Z][A-Z_]*$"}  # Grafana knows no defaults for them
SSL_MODES: Final = ["disable", "require", "verify-ca", "verify-full"]


def only(fields: dict[str, object], *required: str) -> dict[str, object]:
    """Describe an object with these fields and no others."""
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def one_file_of(key: str, item: dict[str, object]) -> dict[str, object]:
    """Describe a provisioning file: its version, and a list under the key."""
    fields = {"apiVersion": {"const": 1}, key: {"type": "array", "items": item, "minItems": 1}}
    return only(fields, "apiVersion", key)


# Source: Grafana's manual, "Provision Grafana" and "Configure the PostgreSQL data source".
DATA_SOURCES: Final = one_file_of(
    "datasources",
    only(
        {
            "name": TEXT, "type": {"const": "postgres"}, "access": {"enum": ["proxy"]}, "uid": TEXT, "orgId": COUNT,
            "url": {"type": "string", "pattern": r"^[a-z0-9.-]+:[0-9]+$"}, "user": FROM_ENVIRONMENT,
            "database": FROM_ENVIRONMENT, "isDefault": FLAG, "version": COUNT, "editable": FLAG,
            "jsonData": only(
                {
                    "database": FROM_ENVIRONMENT, "sslmode": {"enum": SSL_MODES}, "timeInterval": TEXT,
                    "maxOpenConns": COUNT, "maxIdleConns": COUNT, "maxIdleConnsAuto": FLAG, "connMaxLifetime": COUNT,
                    "postgresVersion": COUNT, "timescaledb": FLAG,
                },
                "database", "sslmode",
            ),
            "secureJsonData": only({"password": FROM_ENVIRONMENT}, "password"),
        },
        "name", "type", "uid", "url", "user", "database", "jsonData", "secureJsonData",
    ),
)  # fmt: skip
PROVIDERS: Final = one_file_of(
    "providers",
    only(
        {
            "name": TEXT, "type": {"const": "file"}, "orgId": COUNT, "folder": TEXT, "folderUid": TEXT,
            "disableDeletion": FLAG, "updateIntervalSeconds": COUNT, "allowUiUpdates": FLAG,
            "options": only({"path": TEXT, "foldersFromFilesStructure": FLAG}, "path"),
        },
        "name", "type", "options",
    ),
)  # fmt: skip


def provisioned(kind: str, name: str = "heartbeats") -> dict[str, Any]:
    """Read a provisioning file of a kind."""
    path = GRAFANA / "provisioning" / kind / f"{name}.yml"
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def read(path: Path) -> dict[str, Any]:
    """Read a dashboard."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def everything_named(key: str, part: object) -> list[Any]:
    """Return every value under this key, however deep."""
    if isinstance(part, list):
        return [value for item in part for value in everything_named(key, item)]
    if isinstance(part, dict):
        own = [part[key]] if key in part else []
        return own + [value for item in part.values() for value in everything_named(key, item)]
    return []


def lost(written: object, kept: object, path: str = "") -> list[str]:
    """Name what was written and is not kept, or is something else."""
    if isinstance(written, dict) and isinstance(kept, dict):
        return [name for key in written for name in lost(written[key], kept.get(key), f"{path}.{key}")]
    if isinstance(written, list) and isinstance(kept, list) and len(written) == len(kept):
        pairs = enumerate(zip(written, kept, strict=True))
        return [name for number, pair in pairs for name in lost(*pair, f"{path}[{number}]")]
    return [] if written == kept else [path]


@pytest.mark.parametrize(("kind", "schema"), [("datasources", DATA_SOURCES), ("dashboards", PROVIDERS)])
def test_provisioning_uses_documented_fields_and_no_password(kind: str, schema: dict[str, object]) -> None:
    """Grafana passes over a misspelt field without a word, and a literal password would be in the repository."""
    errors = Draft202012Validator(schema).iter_errors(provisioned(kind))

    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_the_data_source_is_the_default_of_the_variable_that_every_panel_names() -> None:
    """An unknown one leaves a panel blank without an error; old and new Grafanas read different database fields."""
    (source,) = provisioned("datasources")["datasources"]
    named = [target for path in DASHBOARDS for target in everything_named("datasource", read(path))]
    variables = [read(path)["templating"]["list"][0] for path in DASHBOARDS]

    assert {tuple(sorted(reference.items())) for reference in named} == {(("type", "postgres"), ("uid", "${source}"))}
    for variable in variables:
        assert (variable["type"], variable["name"], variable["query"]) == ("datasource", "source", source["type"])
        assert variable["current"] == {"text": source["name"], "value": source["uid"]}
    assert source["database"] == source["jsonData"]["database"]
    assert source["url"] == "postgresql:5432"
    assert source["jsonData"]["sslmode"] == "disable"


def test_grafanas_dashboards_are_those_of_the_files() -> None:
    """A Save button that always fails misleads, and a dashboard that an upgrade removed would stay."""
    (provider,) = provisioned("dashboards")["providers"]

    assert provider["allowUiUpdates"] is False
    assert {read(path)["editable"] for path in [*DASHBOARDS, SERVICES]} == {False}
    assert provider["disableDeletion"] is False
    assert provider["folder"] == "Heartbeat pipeline"


def test_grafana_calls_nobody_outside() -> None:
    """A hospital's network has no way out, and each call waits for its timeout. Source: Grafana's conf/defaults.ini."""
    compose = yaml.safe_load((GRAFANA.parent / "docker-compose.yml").read_text(encoding="utf-8"))
    settings = compose["services"]["grafana"]["environment"]

    assert {name for name, value in settings.items() if value == "false"} == {
        "GF_ANALYTICS_REPORTING_ENABLED", "GF_ANALYTICS_CHECK_FOR_UPDATES", "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
        "GF_NEWS_NEWS_FEED_ENABLED",
    }  # fmt: skip
    assert {name for name, value in settings.items() if value == "true"} == {
        "GF_PLUGINS_PREINSTALL_DISABLED", "GF_PLUGINS_PUBLIC_KEY_RETRIEVAL_DISABLED", "GF_SECURITY_DISABLE_GRAVATAR",
    }  # fmt: skip


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_panel_without_an_answer_blames_nobody_else(path: Path) -> None:
    """While the database is down, Grafana shows the text for no rows: "nobody is in alarm" would be wrong."""
    for panel in read(path)["panels"]:
        text = panel["fieldConfig"]["defaults"]["noValue"]

        if panel["type"] == "stat":  # its query always has a number: only a failed query has none
            mappings = panel["fieldConfig"]["defaults"].get("mappings", [])
            assert text == "no answer from PostgreSQL"
            assert {mapping["type"] for mapping in mappings} <= {"value"}  # one for null would come first
        else:
            assert text.endswith(" (With a red icon: PostgreSQL did not answer.)")


def test_the_distributions_axis_shows_only_its_numbers() -> None:
    """Grafana prints the text for no rows at each tick that it skips, one over the other."""
    (bars,) = (panel for panel in read(GRAFANA / "dashboards/heartbeats.json")["panels"] if panel["type"] == "barchart")
    (axis,) = (
        one for one in bars["fieldConfig"]["overrides"] if one["matcher"]["options"] == bars["options"]["xField"]
    )

    assert {"id": "noValue", "value": ""} in axis["properties"]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_no_legend_shows_one_colour_twice(path: Path) -> None:
    """Lines of one colour cannot be told apart by their legend."""
    for panel in read(path)["panels"]:
        if panel["fieldConfig"]["defaults"].get("color", {}).get("mode") != "fixed":
            continue
        columns = {name for target in panel["targets"] for name in re.findall(r'AS "([^"]+)"', target["rawSql"])}
        without = {
            override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
            for setting in override["properties"]
            if setting["id"] == "custom.hideFrom" and setting["value"]["legend"]
        }

        assert len(columns - without - {"time"}) == 1


@pytest.mark.parametrize("path", [*DASHBOARDS, SERVICES], ids=lambda path: path.stem)
def test_grafanas_own_models_understand_all_of_a_dashboard(path: Path) -> None:
    """What the models drop, Grafana does not know: a misspelt option, or one in the wrong place."""
    plugins.register_default_plugins()
    written = read(path)

    understood = json.loads(json.dumps(Dashboard.from_json(written), cls=JSONEncoder))
    # An annotation's query is the data source's own: tests/integration/test_dashboards.py runs each.
    query = re.compile(r"\.annotations\.list\[\d+\]\.target\.")
    unknown = [name for name in lost(written, understood) if not query.match(name)]

    assert unknown == []


@pytest.mark.parametrize("path", [*DASHBOARDS, SERVICES], ids=lambda path: path.stem)
def test_a_dashboard_can_be_provisioned(path: Path) -> None:
    """No wrapper, no placeholder of an export, nothing twice; and every panel says what it shows."""
    text, dashboard = path.read_text(encoding="utf-8"), read(path)
    panels = dashboard["panels"]

    assert dashboard["uid"] == path.stem
    assert re.fullmatch(r"[a-z-]{1,40}", dashboard["uid"])
    assert "${DS_" not in text
    assert dashboard["refresh"] == ("5s" if path == SERVICES else "1s")  # as often as there is something new
    assert (dashboard["time"]["from"], dashboard["time"]["to"]) == ("now-5m", "now")
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels)


def test_dashboards_are_told_apart_and_lead_to_each_other() -> None:
    """One uid or title twice, and Grafana stops reading them all."""
    dashboards = [read(path) for path in [*DASHBOARDS, SERVICES]]
    uids = {dashboard["uid"] for dashboard in dashboards}

    assert uids == {"heartbeats", "pipeline", "services"}
    assert len({dashboard["title"] for dashboard in dashboards}) == len(dashboards)
    for dashboard in dashboards:
        urls = everything_named("url", dashboard)
        assert {url.removeprefix("/d/").split("?")[0] for url in urls} <= uids
        # Without the profile `monitoring` "Services" is empty, so that the others need not lead to it.
        assert {f"/d/{uid}" for uid in uids - {dashboard["uid"], "services"}} <= set(urls)


def test_colours_of_events_are_told_apart_by_everybody() -> None:
    """Source: Okabe and Ito, "Color Universal Design", whose palette colour-blind people tell apart."""
    colours = [one["iconColor"] for one in read(GRAFANA / "dashboards" / "pipeline.json")["annotations"]["list"]]

    assert len(set(colours)) == len(colours)
    assert {*colours} <= {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}


def test_panels_fill_the_grid_without_overlapping() -> None:
    """Overlapping panels are moved by the browser, and a screen of 1600x1000 shows 23 rows."""
    for path in [*DASHBOARDS, SERVICES]:
        places = [panel["gridPos"] for panel in read(path)["panels"]]
        cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]

        assert sorted(cells) == [(x, y) for x in range(24) for y in range(23)]
