"""The documents' commands and SQL run as they are written, and print what is shown beneath them."""

import json
import re
import shlex

import psycopg
import pytest

from local.waiting import wait_until
from tests.conftest import StartService
from tests.documents import PAGES, ROOT, blocks, code, shape
from tests.pipeline import Database, Topic

pytestmark = pytest.mark.integration

README = ROOT / "README.md"


def test_commands_of_the_readme_print_what_it_shows(start: StartService, topic: Topic, database: Database) -> None:
    """The section "By hand": log lines have the fields that are shown, `verify` prints the header and the sum."""
    by_hand = next(block for block in blocks(README, "console") if "export HEARTBEAT_" in block)
    commands = [shlex.split(line, comments=True) for line in re.findall(r"^\$ python -m (.*)$", by_hand, re.MULTILINE)]
    lines = {
        line["event"]: line.keys()
        for block in blocks(README, "json")
        for line in map(json.loads, block.splitlines())
        if "event" in line
    }
    services = [start(*command) for command in commands if len(command) == 1]
    for service, event in zip(services, ("Sent", "Stored"), strict=True):
        wait_until(lambda: list(service.events(event)), what=event)  # noqa: B023
        assert next(service.events(event)).keys() == lines[event]
        assert service.stop() == 0

    printed: list[str] = []
    for command in (command for command in commands if len(command) > 1):
        service = start(*command)
        assert service.wait() == 0
        printed += map(shape, service.text().splitlines())
    shown = next(block for block in blocks(README, "text") if "in Kafka beyond" in block).splitlines()

    first, last = (next(n for n, line in enumerate(shown) if part in line) for part in ("in Kafka beyond", "balances:"))
    table = shown[first : last + 1]  # the demo says more after it
    assert {shape(line.replace("heartbeats#", f"{topic.name}#")) for line in table} - {"..."} <= set(printed)
    assert database.count() > 0


def test_sql_of_the_documents_runs_and_the_table_has_the_columns_shown(database: Database) -> None:
    """A statement with an ellipsis or a placeholder is for a person to complete; all others run as the owner."""
    spans = {span for page in PAGES for span in code(page.read_text(encoding="utf-8"))}
    inline = {span for span in spans if re.match(r"(SELECT|UPDATE|TRUNCATE|REVOKE) .*[a-z]", span)}
    fenced = [line.strip() for block in blocks(README, "sql") for line in block.splitlines()]
    header = next(block for block in blocks(README, "text") if "customer_id" in block).splitlines()[0]
    columns = {}
    with psycopg.connect(database.conninfo) as connection:
        for statement in (*fenced, *sorted(span for span in inline if "…" not in span and "(begins" not in span)):
            with connection.transaction(force_rollback=True):
                cursor = connection.execute(statement.encode())
                columns[statement] = [column.name for column in cursor.description or ()]

    assert len(fenced) >= 7
    assert len(inline) >= 5
    assert columns["SELECT * FROM heartbeats ORDER BY timestamp DESC LIMIT 10;"] == header.split()[::2]
