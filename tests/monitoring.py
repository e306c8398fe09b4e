"""What Prometheus and the dashboard "Services" are given, as their files hold it."""

import json
import re
from typing import Any, Final

import yaml

from local.service import ROOT

FOLDER: Final = ROOT / "prometheus"
DASHBOARD: Final = ROOT / "grafana" / "dashboards" / "services.json"
RATE_INTERVAL: Final = ("$__rate_interval", "1m")  # Grafana replaces it


def rules() -> list[dict[str, Any]]:
    """Return all rules."""
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def jobs() -> dict[str, dict[str, Any]]:
    """Return where Prometheus finds each job: its only DNS entry."""
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    return {job["job_name"]: job["dns_sd_configs"][0] for job in configuration["scrape_configs"]}


def panel_expressions() -> list[str]:
    """Return the expressions of the dashboard, as Prometheus gets them."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target["expr"].replace(*RATE_INTERVAL) for panel in panels for target in panel["targets"]]


def metrics_in(expression: str) -> set[str]:
    """Return the metrics that an expression reads: names before a selector or a range, and all with our prefixes."""
    without_comments = re.sub(r"#.*", "", expression)
    return set(re.findall(r"[a-zA-Z_:][\w:]*(?=\s*[\[{])|\b(?:heartbeat|process|python)[\w:]+", without_comments))


def labels_in(expression: str) -> set[str]:
    """Return the labels by which an expression groups, matches or selects."""
    lists = re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", expression)
    return set(re.findall(r"\w+", " ".join(lists))) | set(re.findall(r"(\w+)\s*(?:=~?|!~|!=)\s*\"", expression))
