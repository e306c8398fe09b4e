"""Rules and the dashboard "Services" read only what real services export."""

import urllib.request

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from local.ports import find_free_port
from local.waiting import wait_until
from tests.conftest import StartService
from tests.monitoring import labels_in, metrics_in, panel_expressions, rules
from tests.pipeline import Database, Topic

pytestmark = pytest.mark.integration

OF_PROMETHEUS = {"up", "ALERTS", "ALERTS_FOR_STATE"}
LABELS_OF_PROMETHEUS = {"job", "instance", "alertstate"}


def scrape(port: int) -> list[Metric]:
    """Read /metrics as Prometheus does."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return list(text_string_to_metric_families(answer.read().decode()))


def test_rules_and_panels_read_metrics_that_the_services_export(
    start: StartService, topic: Topic, database: Database
) -> None:
    """A renamed metric leaves a panel empty and a rule silent, without an error anywhere."""
    producing, consuming = find_free_port(), find_free_port()
    topic.create()
    topic.send([(b"k", b"broken")])  # so that there is a reason
    start("producer", HEARTBEAT_PRODUCER__METRICS_PORT=str(producing))
    start("consumer", HEARTBEAT_CONSUMER__METRICS_PORT=str(consuming))
    wait_until(lambda: database.count() > 0)
    wait_until(lambda: any(family.name.endswith("_rejected") and family.samples for family in scrape(consuming)))
    families = [*scrape(producing), *scrape(consuming)]
    names = {sample.name for family in families for sample in family.samples}
    names |= {
        f"{family.name}_total" for family in families if family.type == "counter"
    }  # labelled ones without an event
    names |= {family.name for family in families if family.type == "gauge"}
    labels = {label for family in families for sample in family.samples for label in sample.labels}
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    expressions = [rule["expr"] for rule in rules()] + panel_expressions()
    # No server is away and no step fails here: tests/unit/test_steps.py and test_worker_faults.py count these.
    labels |= {"server", "step"}

    used = {name for expression in expressions for name in metrics_in(expression)}
    grouped = {label for expression in expressions for label in labels_in(expression)}

    assert len(used) > 20
    assert used - names - recorded - OF_PROMETHEUS == set()
    assert grouped - labels - LABELS_OF_PROMETHEUS == set()
    for family in families:  # what the panels of memory and CPU and the rule about restarts need, from both services
        if family.name in {"process_resident_memory_bytes", "process_cpu_seconds", "process_start_time_seconds"}:
            assert family.samples[0].value > 0
    assert [family.name for family in families].count("process_resident_memory_bytes") == 2
