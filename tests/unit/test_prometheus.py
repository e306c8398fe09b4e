"""Prometheus's configuration and rules: by its own tool, and held to the files that state the same facts."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
import yaml

from local.service import ROOT
from tests.monitoring import FOLDER, jobs, panel_expressions, rules

Promtool = Callable[..., None]
COMPOSE: Final = yaml.safe_load((ROOT / "docker-compose.yml").read_bytes())["services"]
ALERTS: Final = {rule["alert"]: rule for rule in rules() if "alert" in rule}
PARTS: Final = {"producer", "consumer", "kafka", "postgresql", "{{ $labels.job }}", "{{ $labels.server }}"}
POWERS: Final = {"m": 2, "g": 3}  # of 1024


@pytest.fixture
def promtool() -> Promtool:
    """Run Prometheus's own checks; a failure shows what they said."""
    program = shutil.which("promtool")
    if program is None:
        assert "CI" not in os.environ, "promtool is not installed"
        pytest.skip("promtool is not installed (Debian, Ubuntu: apt install prometheus)")

    def run(*arguments: str | Path) -> None:
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def test_prometheus_accepts_its_configuration(promtool: Promtool) -> None:
    """With a mistake in one of the files, Prometheus ends at its start."""
    promtool("check", "config", FOLDER / "prometheus.yml")
    promtool("check", "rules", FOLDER / "rules.yml")


def test_rules_fire_when_they_should_and_only_then(promtool: Promtool) -> None:
    """The cases are in prometheus/rules_test.yml: a healthy system, then each fault."""
    promtool("test", "rules", FOLDER / "rules_test.yml")


def test_every_alert_fires_in_a_case() -> None:
    """A rule whose expression matches nothing is valid, and silent for ever."""
    cases = (FOLDER / "rules_test.yml").read_text(encoding="utf-8")

    assert set(re.findall(r'alertname="(\w+)", alertstate="firing"', cases)) == ALERTS.keys()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_names_the_part_at_fault_and_what_to_do(name: str) -> None:
    """Somebody who is woken by it has to know where to look."""
    alert = ALERTS[name]

    assert alert["labels"].keys() == {"part", "severity"}
    assert alert["labels"]["part"] in PARTS
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "hint"}
    assert all(text.endswith((".", ").")) for text in alert["annotations"].values())


def test_prometheus_understands_the_expressions_of_the_dashboard(promtool: Promtool, tmp_path: Path) -> None:
    """A misspelt function leaves a panel empty."""
    recorded = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(panel_expressions())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}), encoding="utf-8")

    promtool("check", "rules", file)


def test_memory_limits_are_those_of_the_containers() -> None:
    """A rule with another limit would fire too late, or always."""
    limits = {rule["labels"]["job"]: rule["expr"] for rule in rules() if rule.get("record", "").endswith("limit_bytes")}

    assert limits == {
        service: f"vector({number} * 1024 ^ {POWERS[unit]})"
        for service in ("producer", "consumer")
        for number, unit in [re.fullmatch(r"(\d+)(\w)", COMPOSE[service]["mem_limit"]).groups()]  # type: ignore[union-attr]  # else the test fails
    }


def test_each_job_is_found_by_its_service_name_and_port() -> None:
    """The names are compose's, the ports those that the images set."""
    found = {name: (job["names"], job["type"], str(job["port"])) for name, job in jobs().items()}

    assert found.keys() == {"producer", "consumer", "spark"} <= COMPOSE.keys()
    for service, how in found.items():
        image = (ROOT / f"Dockerfile.{service}").read_text(encoding="utf-8")
        (port,) = re.findall(r"METRICS_PORT=(\d+)", image)
        assert how == ([f"{service}."], "A", port)  # the dot: not in the domains of the host


def test_grafana_knows_how_often_prometheus_asks() -> None:
    """It chooses ranges of rates by that: one that holds a single scrape has no rate."""
    configuration = yaml.safe_load((FOLDER / "prometheus.yml").read_bytes())
    source = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_bytes())["datasources"][0]

    assert source["jsonData"]["timeInterval"] == configuration["global"]["scrape_interval"]
