"""Each example's compose file beside the project's own: the same images and limits, its own topic, group and table."""

import pytest

from contracts.contract import Contract
from tests.e2e.stack import Resolved, resolve_file
from tests.events import EXAMPLES, FOLDER

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("engine")]

OWN = ("command", "depends_on", "environment", "volumes")  # what an example's service may have other than its model


@pytest.mark.parametrize("contract", EXAMPLES, ids=lambda contract: contract.table)
def test_example_adds_a_consumer_and_a_schema_job_and_changes_no_service(
    services: Resolved, contract: Contract
) -> None:
    """A person adds the file to a running stack: the heartbeats must go on as they are."""
    name, files = contract.table, ("docker-compose.yml", f"examples/{contract.table}/docker-compose.yml")
    together = resolve_file(FOLDER.parent, *files, COMPOSE_PROFILES="monitoring")["services"]
    consumer, schema = together.pop(f"{name}-consumer"), together.pop(f"{name}-schema")

    assert together == services
    for service, model in ((consumer, services["consumer"]), (schema, services["schema"])):
        assert {key: value for key, value in service.items() if key not in OWN} == {
            key: value for key, value in model.items() if key not in OWN
        }
        (mounted,) = service["volumes"]
        assert (mounted["source"], mounted["read_only"], mounted["bind"]["selinux"]) == (str(FOLDER), True, "z")
    assert dict(consumer["environment"].items() - services["consumer"]["environment"].items()) == {
        "HEARTBEAT_EVENT__CONTRACT": f"examples.{name}.contract:{name.upper()}",
        "HEARTBEAT_KAFKA__TOPIC": name,
        "HEARTBEAT_KAFKA__GROUP_ID": f"{name}-consumer",
    }
    assert schema["environment"] == services["schema"]["environment"]
    assert f"--file=/examples/{name}/{name}.sql" in schema["command"]
    assert ("--set=unique=true" in schema["command"]) == bool(contract.unique)


@pytest.mark.parametrize("contract", EXAMPLES, ids=lambda contract: contract.table)
def test_example_starts_in_the_order_of_the_tables(contract: Contract) -> None:
    """Its table comes after the roles, which get rights on it, and before its consumer."""
    name = contract.table
    together = resolve_file(FOLDER.parent, "docker-compose.yml", f"examples/{name}/docker-compose.yml")["services"]

    assert together[f"{name}-schema"]["depends_on"]["schema"]["condition"] == "service_completed_successfully"
    assert together[f"{name}-consumer"]["depends_on"][f"{name}-schema"]["condition"] == "service_completed_successfully"
    assert together[f"{name}-consumer"]["depends_on"]["kafka"]["condition"] == "service_healthy"
