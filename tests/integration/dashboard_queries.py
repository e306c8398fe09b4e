"""The dashboards' queries, as their files hold them."""

import json
from collections.abc import Iterator
from typing import Any

from local.service import ROOT

DASHBOARDS = ("heartbeats", "pipeline")


def read(dashboard: str) -> dict[str, Any]:
    """Read a dashboard."""
    content: dict[str, Any] = json.loads((ROOT / "grafana/dashboards" / f"{dashboard}.json").read_text("utf-8"))
    return content


def targets(dashboard: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Return every query of a dashboard: its panel and its SQL."""
    for panel in read(dashboard)["panels"]:
        for target in panel["targets"]:
            yield panel, target["rawSql"]
