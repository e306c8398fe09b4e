"""The alert rules and the contact point that Grafana is given: a mistake in them is a message that never comes."""

import re
from typing import Any, Final

import pytest
import yaml
from dotenv import dotenv_values
from jsonschema import Draft202012Validator

from local.service import ROOT
from tests.integration.alert_rules import Rule, rules
from tests.integration.dashboard_queries import DASHBOARDS, read
from tests.unit.test_provisioning import COUNT, FLAG, TEXT, only, provisioned

FOLDER: Final = ROOT / "grafana/provisioning/alerting"
WEBHOOK: Final = "GRAFANA_ALERT_WEBHOOK_URL"
DURATION: Final = {"type": "string", "pattern": r"^[0-9]+[smh]$"}

# Source: Grafana's manual, "Use configuration files to provision alerting resources".
RANGE: Final = only({"from": COUNT, "to": COUNT}, "from", "to")
QUERY: Final = only(
    {
        "refId": {"const": "A"}, "datasourceUid": TEXT, "relativeTimeRange": RANGE,
        "model": only({"refId": {"const": "A"}, "format": {"const": "table"}, "rawSql": TEXT}, "format", "rawSql"),
    },
    "refId", "datasourceUid", "relativeTimeRange", "model",
)  # fmt: skip
EVALUATOR: Final = only(
    {
        "type": {"enum": ["gt", "lt"]},
        "params": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 1},
    },
    "type", "params",
)  # fmt: skip
THRESHOLD: Final = only(
    {
        "refId": {"const": "C"}, "datasourceUid": {"const": "__expr__"}, "relativeTimeRange": RANGE,
        "model": only(
            {
                "refId": {"const": "C"}, "type": {"const": "threshold"}, "expression": {"const": "A"},
                "conditions": {"type": "array", "items": only({"evaluator": EVALUATOR}, "evaluator"), "maxItems": 1},
            },
            "refId", "type", "expression", "conditions",
        ),
    },
    "refId", "datasourceUid", "model",
)  # fmt: skip
RULE: Final = only(
    {
        "uid": {"type": "string", "pattern": "^[a-z-]{1,40}$"}, "title": TEXT, "condition": {"const": "C"},
        "for": DURATION, "noDataState": {"enum": ["OK", "Alerting"]},
        "execErrState": {"enum": ["KeepLast", "Alerting"]},
        "labels": only({"part": TEXT, "severity": {"enum": ["critical", "warning"]}}, "part", "severity"),
        "annotations": only(
            {"summary": TEXT, "description": TEXT, "__dashboardUid__": TEXT, "__panelId__": TEXT},
            "summary", "description", "__dashboardUid__", "__panelId__",
        ),
        "data": {"type": "array", "prefixItems": [QUERY, THRESHOLD], "minItems": 2, "maxItems": 2},
    },
    "uid", "title", "condition", "for", "noDataState", "execErrState", "labels", "annotations", "data",
)  # fmt: skip
GROUP: Final = only(
    {
        "orgId": COUNT, "name": TEXT, "folder": TEXT, "interval": DURATION,
        "rules": {"type": "array", "items": RULE, "minItems": 1},
    },
    "orgId", "name", "folder", "interval", "rules",
)  # fmt: skip
RULES: Final = only(
    {
        "apiVersion": {"const": 1}, "groups": {"type": "array", "items": GROUP, "minItems": 1},
        "deleteRules": {"type": "array", "items": only({"orgId": COUNT, "uid": TEXT}, "orgId", "uid")},
    },
    "apiVersion", "groups",
)  # fmt: skip
RECEIVER: Final = only(
    {
        "uid": TEXT, "type": {"const": "webhook"}, "disableResolveMessage": FLAG,
        "settings": only({"url": {"const": f"${WEBHOOK}"}}, "url"),
    },
    "uid", "type", "settings",
)  # fmt: skip
CONTACT_POINT: Final = only(
    {
        "apiVersion": {"const": 1},
        "contactPoints": {
            "type": "array",
            "items": only({"orgId": COUNT, "name": TEXT, "receivers": {"type": "array", "items": RECEIVER}}, "name"),
        },
        "policies": {
            "type": "array",
            "items": only(
                {
                    "orgId": COUNT, "receiver": TEXT, "group_by": {"type": "array", "items": TEXT},
                    "group_wait": DURATION, "group_interval": DURATION, "repeat_interval": DURATION,
                },
                "receiver",
            ),
        },
    },
    "apiVersion", "contactPoints", "policies",
)  # fmt: skip


def content_of(name: str) -> dict[str, Any]:
    """Read one of the files."""
    content: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return content


every_rule = pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["uid"])


@pytest.mark.parametrize(("name", "schema"), [("rules.yml", RULES), ("contact-point.yml", CONTACT_POINT)])
def test_files_use_documented_fields(name: str, schema: dict[str, object]) -> None:
    """Grafana passes over a misspelt field without a word."""
    errors = Draft202012Validator(schema).iter_errors(content_of(name))

    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def test_rules_are_told_apart() -> None:
    """Grafana does not start with one uid twice; one title twice in a folder is refused as well."""
    found = list(rules())

    assert len({rule["uid"] for rule in found}) == len({rule["title"] for rule in found}) == len(found)


@every_rule
def test_rule_links_to_a_panel_that_exists(rule: Rule) -> None:
    """The link in a message leads to a panel, whose id is written nowhere else."""
    annotations = rule["annotations"]
    panels = {board: {str(panel["id"]) for panel in read(board)["panels"]} for board in DASHBOARDS}

    assert annotations["__panelId__"] in panels[annotations["__dashboardUid__"]]


@every_rule
def test_rule_asks_the_provisioned_data_source(rule: Rule) -> None:
    (source,) = provisioned("datasources")["datasources"]

    assert rule["data"][0]["datasourceUid"] == source["uid"]


@every_rule
def test_message_names_only_what_the_query_returns(rule: Rule) -> None:
    """An unknown label becomes "[no value]", a function on a value that is missing breaks the text."""
    text = rule["annotations"]["summary"] + rule["annotations"]["description"]
    named = re.findall(r"\{\{ (.+?) \}\}", text)
    columns = set(re.findall(r'AS "(\w+)"|SELECT (topic)\b', rule["data"][0]["model"]["rawSql"]))

    assert all(name == "$values.A" or name.startswith("$labels.") for name in named)
    assert {name.removeprefix("$labels.") for name in named if name != "$values.A"} <= {a or b for a, b in columns}


def test_only_one_rule_fires_when_postgresql_is_away() -> None:
    """The others would send one message each, about parts that nobody knows anything of."""
    loud = {rule["uid"] for rule in rules() if rule["execErrState"] != "KeepLast"}

    assert loud == {"postgresql"}


def test_removed_rules_are_not_provisioned_again() -> None:
    """Grafana would delete them after it has made them."""
    removed = {rule["uid"] for rule in content_of("rules.yml").get("deleteRules", ())}

    assert removed & {rule["uid"] for rule in rules()} == set()


def test_all_rules_are_sent_to_the_one_contact_point() -> None:
    """A policy that names another one would end Grafana at its start."""
    content = content_of("contact-point.yml")
    (point,) = content["contactPoints"]
    (policy,) = content["policies"]

    assert policy["receiver"] == point["name"]
    assert "routes" not in policy
    assert [one["disableResolveMessage"] for one in point["receivers"]] == [False]


def test_no_address_is_committed() -> None:
    """Whoever starts the pipeline decides who is told."""
    assert dotenv_values(ROOT / ".env")[WEBHOOK] == ""
